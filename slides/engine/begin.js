// What a worker of the deck begins with: start.ts. Firefox gives what is imported here from sw.js only where that is
// imported while the worker runs; so messages wait for it.
const early = []
const wait = ({ data }) => early.push(data)
addEventListener('message', wait)
import('ADDRESS').then(() => {
  removeEventListener('message', wait)
  early.forEach(data => dispatchEvent(new MessageEvent('message', { data })))
}, error => setTimeout(() => { throw error }))
