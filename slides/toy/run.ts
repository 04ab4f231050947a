// A training in a worker, as the page has it: stop() ends it at once, whatever it is doing.

import type { Points } from './points'
import type { Seen } from './train'
import workerUrl from './worker?worker&url'

/** Says all that there is to see, and in the end, or when it cannot go on, so. */
export function startTraining(points: Points, onSeen: (seen: Seen) => void, onEnd: (failed: boolean) => void) {
  // A blob's worker obeys the page's content security policy; one with an address of its own would have none.
  const blob = URL.createObjectURL(new Blob([`import ${JSON.stringify(new URL(workerUrl, document.baseURI).href)}`], { type: 'text/javascript' }))
  const worker = new Worker(blob, { type: 'module' })

  function stop() {
    worker.terminate()
    URL.revokeObjectURL(blob)
  }

  function end(failed: boolean) {
    stop()
    onEnd(failed)
  }

  worker.addEventListener('error', () => end(true))
  worker.addEventListener('message', ({ data }: MessageEvent<Seen>) => {
    onSeen(data)
    if (data.step === data.of)
      end(false)
  })
  worker.postMessage(points)
  return stop
}
