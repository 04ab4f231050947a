// Which Python runs a block: torch on the speaker's machine, where the deck's own server has it, or the one in this page.
//
//     const python = await pythonFor({ module: 'unet', region: 'attend' })
//     badge = python.name; if (!python.has('unet', 'attend')) …    // no "run" here
//
// Ask again for the next run: where torch is gone, the page's Python is what comes then.

import type { Failure, Python } from './types'
import { openKernel } from './kernel'

export * from './types'

export interface Block {
  /** Its text came with a link: somebody else's code runs in the page, which nothing leaves, and never on the machine. */
  foreign?: boolean
}

let page: Promise<Python> | undefined
const openPage = () => page ??= Promise.all([import('./page'), import('../lab/engine')])
  .then(([{ openPython }, { useEngine }]) => openPython(useEngine))

export async function pythonFor({ foreign = false }: Block): Promise<Python> {
  const kernel = foreign ? null : await openKernel()
  return kernel ? orPage(kernel) : openPage()
}

/** Where torch does not answer any more, the page takes over what it can run. */
function orPage(kernel: Python): Python {
  let python = kernel
  return {
    ...kernel,
    get name() { return python.name },
    run(task, events = {}) {
      let run = kernel.run(task, events)
      const finished = run.finished.catch(async (failure: Failure) => {
        const other = failure.kind === 'missing' && task.cell === undefined ? await openPage() : null
        if (!other || !task.changes.every(({ module, region }) => other.has(module, region)))
          throw failure
        python = other
        events.onState?.(`${failure.message}: the page takes over`)
        run = other.run(task, events)
        return run.finished
      })
      return { finished, stop: () => run.stop() }
    },
  }
}
