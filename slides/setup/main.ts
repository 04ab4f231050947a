import { defineAppSetup } from '@slidev/types'

// slides/sw.js, for later visits without a network. What came before it was there it is told of.
export default defineAppSetup(() => {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator))
    return
  addEventListener('load', async () => {
    await navigator.serviceWorker.register('./sw.js').catch(() => {}) // a reader who wants none gets none
    const { active } = await navigator.serviceWorker.ready
    const seen = performance.getEntriesByType('resource').map(entry => entry.name)
    active?.postMessage([location.href.split('#')[0], ...seen.filter(url => url.startsWith(location.origin))])
  })
})
