// Which Python runs a block: torch on the speaker's machine, where the deck's own server has it, or the one in this page.
//
//     const python = await pythonFor({ module: 'unet', region: 'attend' })
//     badge = python.name; if (!python.has('unet', 'attend')) …    // no "run" here
//
// Ask again when a run fails with 'missing' or 'lost': where torch is gone, the page's Python is what comes then.

import type { Python } from './types'
import { openKernel } from './kernel'

export * from './types'

export interface Block {
  /** Its text came with a link: somebody else's code runs in the page, which nothing leaves, and never on the machine. */
  foreign?: boolean
}

let page: Promise<Python> | undefined

export async function pythonFor({ foreign = false }: Block): Promise<Python> {
  return (foreign ? null : await openKernel()) ?? (page ??= Promise.all([import('./page'), import('../lab/engine')])
    .then(([{ openPython }, { useEngine }]) => openPython(useEngine)))
}
