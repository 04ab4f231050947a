// A training in a worker, as the page has it: stop() ends it at once, whatever it is doing.

import { startWorker } from '../engine/start'
import type { Points } from './points'
import type { Seen } from './train'
import workerUrl from './worker?worker&url'

/** Says all that there is to see, and in the end, or when it cannot go on, so. */
export function startTraining(points: Points, onSeen: (seen: Seen) => void, onEnd: (failed: boolean) => void) {
  const { worker, stop } = startWorker(workerUrl)

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
