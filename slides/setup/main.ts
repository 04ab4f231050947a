import { defineAppSetup } from '@slidev/types'
import { shared } from '../scope'

// slides/sw.js, one for both languages, for later visits without a network. What came before it was there it is told of.
export default defineAppSetup(() => {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator))
    return
  addEventListener('load', async () => {
    await navigator.serviceWorker.register(`${shared}sw.js`).catch(() => {}) // a reader who wants none gets none
    const { active } = await navigator.serviceWorker.ready
    const seen = performance.getEntriesByType('resource').map(entry => entry.name)
    active?.postMessage([location.href.split('#')[0], ...seen.filter(url => url.startsWith(location.origin))])
  })
})
