// A prompt -> a picture, with all that is seen on the way: encode_prompt, get_latents, denoise and decode of
// src/sdscope/pipeline.py, for one picture; and of image_to_image.py and inpaint.py, where it begins with another.

import type { Model } from './model'
import type { Beginning, Result, Settings, Step, Tensor, Watch } from './types'
import { generator } from './random'
import { combine, makeScheduler, subtracting } from './scheduler'
import { EngineError, stepsTaken, USUAL } from './types'

const LARGEST = 1e18 // the networks square what they are given, and float32 ends at 3.4e38

/** null: it was cancelled. EngineError: settings-…, before any work; lost-…: numbers end on the way, and so does the run. */
export async function paint(model: Model, settings: Settings, watch: Required<Watch>, isCancelled: () => boolean): Promise<Result | null> {
  const start = performance.now()
  const s = complete(model, settings)
  const guided = s.guidance > 1
  const embeds = await encodePrompt(model, s, guided, watch)
  const scheduler = s.subtract === undefined
    ? makeScheduler(s.scheduler, model.info.scheduler, s.steps)
    : subtracting(s.subtract, model.info.scheduler, s.steps)

  let decoding = 0 // ms
  async function picture(x0: Tensor) {
    const begun = performance.now()
    if (decoding >= s.images * (begun - start))
      return null
    const image = await model.decode(x0)
    decoding += performance.now() - begun
    return image
  }

  const { dims, from } = s
  const steps = stepsTaken(s)
  const skipped = s.steps - steps
  const draw = generator(s.seed)
  const given = from ? await encodePicture(model, from.image, draw) : null
  const mask = from?.mask ? places(from.mask, dims) : null
  const noise = s.latents?.data ?? draw(dims.reduce((a, b) => a * b))
  const last = embeds.length - 1 // the half with the prompt
  let latents: Float32Array = given && !(mask && from!.strength === 1) // then, as in diffusers, from noise alone
    ? scheduler.addNoise(given, noise, skipped)
    : noise.map(value => value * scheduler.initNoiseSigma)
  for (const [i, t] of scheduler.timesteps.slice(skipped).entries()) {
    await otherMessages()
    if (isCancelled())
      return null
    const seen = { data: scheduler.scaleModelInput(latents, skipped + i), dims }
    const outputs = await model.unet(seen, t, embeds) // both at once: without and with the prompt
    const cond = row(outputs.noise_pred, last)
    const uncond = guided ? row(outputs.noise_pred, 0) : null
    const combined = uncond ? { data: combine(1 - s.guidance, uncond.data, s.guidance, cond.data), dims } : cond
    const { prev, x0 } = scheduler.step(combined.data, skipped + i, latents)
    if (lost(prev) || lost(x0))
      throw new EngineError(`lost-${cause(latents, uncond, cond, combined)}`, { step: i + 1, steps })
    const now: Omit<Step, 'image'> = {
      i, t, latents: { data: latents, dims }, uncond, cond, guided: combined, x0: { data: x0, dims },
      attention: s.attention ? parts(outputs, 'attention.', last) : {},
      features: s.features ? parts(outputs, 'features.', last) : {},
    }
    watch.onStep({ ...now, image: await picture(now.x0) })
    latents = given && mask ? blend(mask, prev, scheduler.addNoise(given, noise, skipped + i + 1)) : prev
  }
  await otherMessages()
  if (isCancelled())
    return null
  const result = { data: latents, dims }
  return { image: await model.decode(result), latents: result, seconds: (performance.now() - start) / 1000 }
}

/** [of the negative prompt, of the prompt]; without guidance [of the prompt] */
async function encodePrompt(model: Model, s: ReturnType<typeof complete>, guided: boolean, watch: Required<Watch>) {
  const prompt = model.tokenize(s.prompt)
  const negative = guided ? model.tokenize(s.negativePrompt) : null
  watch.onTokens(prompt, negative)
  const cond = s.promptEmbeds ?? await model.encode(prompt.ids)
  const uncond = negative && await model.encode(negative.ids)
  watch.onEmbeddings(cond, uncond)
  return uncond ? [uncond, cond] : [cond]
}

/** A picture -> latents: a draw from what the encoder says of it. */
async function encodePicture(model: Model, image: ImageData, draw: ReturnType<typeof generator>) {
  const { mean, std } = await model.posterior(image)
  const noise = draw(mean.data.length)
  return mean.data.map((value, k) => value + std.data[k] * noise[k])
}

/** A mask, for each place of the latents: is it painted again? Of the pixels the nearest one counts, as torch's interpolate has it. */
function places({ data, width, height }: ImageData, [, h, w]: number[]) {
  return Array.from({ length: h * w }, (_, k) => {
    const [y, x] = [Math.floor(Math.floor(k / w) * height / h), Math.floor(k % w * width / w)]
    return data[4 * (y * width + x) + 3] >= 128
  })
}

/** In every channel: where the mask is, what was painted; elsewhere what is known. */
const blend = (mask: boolean[], painted: Float32Array, known: Float32Array) =>
  painted.map((value, k) => (mask[k % mask.length] ? value : known[k]))

/** Settings with nothing left open, and what the latents' dimensions are. */
function complete({ info }: Model, settings: Settings) {
  const { width, height } = settings.from?.image ?? { width: info.size, height: info.size }
  const s = {
    negativePrompt: '', seed: 0, ...USUAL, scheduler: 'ddim' as const, width, height,
    attention: false, features: false, images: 0, ...settings,
  }
  const most = info.scheduler.num_train_timesteps - info.scheduler.steps_offset
  for (const text of [s.prompt, s.negativePrompt])
    require(text.isWellFormed(), 'prompt')
  for (const side of [s.width, s.height])
    require(side >= 2 * info.factor && side % info.factor === 0, 'size', { factor: info.factor, size: info.size })
  require(Number.isInteger(s.steps) && s.steps >= 1 && s.steps <= most, 'steps', { most })
  require(Number.isFinite(s.guidance), 'guidance')
  require(Number.isSafeInteger(s.seed) && s.seed >= 0, 'seed')
  const dims = s.latents?.dims ?? [info.latent_channels, s.height / info.factor, s.width / info.factor]
  if (s.from)
    checkBeginning(s.from, s.steps, dims)
  return { ...s, dims }
}

function checkBeginning({ strength, mask }: Beginning, steps: number, dims: number[]) {
  const least = Math.ceil(100 / steps) / 100
  require(strength * steps >= 1 && strength <= 1, 'strength', { strength, steps, least })
  require(!mask || places(mask, dims).includes(true), 'mask')
}

function require(fits: boolean, setting: 'prompt' | 'size' | 'steps' | 'guidance' | 'seed' | 'strength' | 'mask', values = {}) {
  if (!fits)
    throw new EngineError(`settings-${setting}`, values)
}

/** Not-a-number, infinity, or so large that the next network makes them of it: a picture would be black, without a word. */
export const lost = (x: Float32Array) => !x.every(value => Math.abs(value) < LARGEST)

/** Where it comes from: as in src/sdscope/steps.py */
function cause(latents: Float32Array, uncond: Tensor | null, cond: Tensor, combined: Tensor) {
  if (lost(latents))
    return 'before'
  if (!lost(combined.data))
    return 'in-scheduler'
  const halves = uncond ? [uncond, cond] : [cond]
  return halves.some(half => lost(half.data)) ? 'in-network' : 'in-guidance'
}

/** [B, …] -> its row i, […] */
function row({ data, dims: [batch, ...dims] }: Tensor, i: number): Tensor {
  const size = data.length / batch
  return { data: data.slice(i * size, (i + 1) * size), dims }
}

/** The outputs whose names begin with `prefix`, by the rest of their names. */
function parts(outputs: Record<string, Tensor>, prefix: string, i: number) {
  const names = Object.keys(outputs).filter(name => name.startsWith(prefix))
  return Object.fromEntries(names.map(name => [name.slice(prefix.length), row(outputs[name], i)]))
}

/** A step of the UNet lets nothing else in: here messages that came meanwhile, such as one to cancel, are heard. */
const otherMessages = () => new Promise(resolve => setTimeout(resolve))
