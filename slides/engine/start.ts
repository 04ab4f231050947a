// How every worker of the deck begins, and whether it shares memory with the page.
import begin from './begin.js?raw'

/** A worker of a module, given by its address; stop() ends it. Throws where the browser has none. */
export function startWorker(address: string) {
  const url = new URL(address, document.baseURI).href
  // slides/sw.js keeps what the page asks for; at a first visit, what a worker asks for may pass it by.
  fetch(url, { cache: 'force-cache' }).catch(() => {})
  // A blob's worker obeys the page's content security policy; one with an address of its own would have none.
  const blob = URL.createObjectURL(new Blob([begin.replace("'ADDRESS'", () => JSON.stringify(url))], { type: 'text/javascript' }))
  const worker = new Worker(blob, { type: 'module' })
  return {
    worker,
    stop() {
      worker.terminate()
      URL.revokeObjectURL(blob)
    },
  }
}

/** WebKitGTK calls a page isolated that may not share memory all the same. */
export const sharesMemory = () => self.crossOriginIsolated && typeof SharedArrayBuffer === 'function'
