// The page's Python and its engine within reach of the test, with answers as plain numbers.
import { openEngine } from '../../../slides/engine/engine'
import { openPython } from '../../../slides/python/page'

const engine = openEngine()
const python = openPython(async () => (await engine.load(), engine))
const largest = (a: Float32Array, b: Float32Array) => a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0)

/** What came of a run and what was told meanwhile. `stopAfter`: ms from when it runs. */
async function run(task: any, stopAfter?: number) {
  const steps: any[] = []
  const printed: string[] = []
  let stopped = 0
  const stop = () => setTimeout(() => (stopped = performance.now(), running.stop()), stopAfter)
  const running = python.run({ changes: [], ...task, settings: { prompt: 'a ship', height: 64, width: 64, num_inference_steps: 2, ...task.settings } }, {
    onStep: step => steps.push(step),
    onPrint: text => printed.push(text),
    onState: text => text === 'running' && stopAfter !== undefined && stop(),
  })
  try {
    const { picture, ...rest } = await running.finished
    return { ...rest, printed, calls: rest.steps, steps: steps.map(step => step.picture !== null), size: picture && [picture.width, picture.height], pixels: picture && [...picture.data] }
  }
  catch (failure: any) {
    const { kind, message, region, line } = failure
    return { kind, message, region, line, printed, steps: steps.length, ended: (performance.now() - stopped) / 1000 }
  }
}

/** The same settings through Python and through the engine's own loop: the largest difference beside the largest number, and both pictures. */
async function both({ prompt, negative_prompt, seed, num_inference_steps: steps, guidance_scale: guidance, height, width }: any) {
  const mine: any[] = []
  const theirs: any[] = []
  const settings = { prompt, negative_prompt, seed, num_inference_steps: steps, guidance_scale: guidance, height, width }
  const { picture, seconds, pythonSeconds } = await python.run({ changes: [], settings }, { onStep: step => mine.push(step) }).finished
  const result = await engine.paint({ prompt, negativePrompt: negative_prompt, seed, steps, guidance, height, width }, { onStep: step => theirs.push(step) }).finished
  const zeros = new Float32Array(mine[0].latents.data.length)
  const far = (name: string, other: string) => Math.max(...mine.map((step, i) =>
    largest(step[name].data, theirs[i][other].data) / largest(theirs[i][other].data, zeros)))
  return { count: [mine.length, theirs.length], latents: far('latents', 'latents'), x0: far('pred_x0', 'x0'), mine: [...picture!.data], theirs: [...result!.image.data], seconds, pythonSeconds }
}

Object.assign(window, { openEngine, engine, python, run, both })
