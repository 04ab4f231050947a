// The page's Python and its engine within reach of the test.
import { openEngine } from '../../../slides/engine/engine'
import { openPython } from '../../../slides/python/page'

const engine = openEngine()
const python = openPython(async () => (await engine.load(), engine))

/** A run as plain numbers: what came of it, what was told meanwhile. */
async function run(task: any, stopAfter?: number) {
  const steps: any[] = []
  const printed: string[] = []
  const start = performance.now()
  const running = python.run({ changes: [], settings: { prompt: 'a ship' }, ...task }, { onStep: step => steps.push(step), onPrint: text => printed.push(text) })
  if (stopAfter !== undefined)
    setTimeout(running.stop, stopAfter)
  const told = { steps: steps as any, printed }
  try {
    const { picture, ...rest } = await running.finished
    return { ...told, ...rest, calls: rest.steps, steps: steps.map(({ latents, t, picture }) => ({ t, latents: [...latents.data], picture: !!picture })), pixels: picture && [...picture.data] }
  }
  catch (failure: any) {
    const { kind, message, region, line } = failure
    return { ...told, steps: steps.length, failure: { kind, message, region, line }, seconds: (performance.now() - start) / 1000 }
  }
}

Object.assign(window, { engine, python, run })
