// A training, away from the page's own thread.

import type { Points } from './points'
import { train } from './train'

self.addEventListener('message', ({ data }: MessageEvent<Points>) => {
  for (const seen of train(data))
    self.postMessage(seen)
})
