// torch on the speaker's machine: a Jupyter kernel behind the deck's own server (tools/live.py).

import type { Python } from './types'

/** null: this deck comes from a server that has none. */
export async function openKernel(): Promise<Python | null> {
  return null
}
