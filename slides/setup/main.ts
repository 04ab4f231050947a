import { defineAppSetup } from '@slidev/types'
import { shared } from '../scope'

// slides/sw.js, one for both languages, for later visits without a network. What came past it, at the first visit, it is told of.
export default defineAppSetup(() => {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator))
    return
  addEventListener('load', async () => {
    await navigator.serviceWorker.register(`${shared}sw.js`).catch(() => {}) // a reader who wants none gets none
    const { active } = await navigator.serviceWorker.ready
    const tell = (urls: string[]) => active?.postMessage(urls.filter(url => url.startsWith(location.origin)))
    tell([location.href.split('#')[0]])
    new PerformanceObserver(seen => tell((seen.getEntries() as PerformanceResourceTiming[])
      .filter(entry => !entry.workerStart).map(entry => entry.name))).observe({ type: 'resource', buffered: true })
  })
})
