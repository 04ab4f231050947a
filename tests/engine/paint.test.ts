import { readFileSync } from 'node:fs'
import { expect, test, vi } from 'vitest'
import { paint } from '../../slides/engine/paint'
import { generator, randn } from '../../slides/engine/random'
import { makeScheduler } from '../../slides/engine/scheduler'
import { stepsTaken, USUAL } from '../../slides/engine/types'
import { readJson } from './setup'

const scheduler = readJson('src/sdscope/postcard/weights/scheduler/scheduler_config.json')
const filled = (value: number, ...dims: number[]) => ({ data: new Float32Array(dims.reduce((a, b) => a * b)).fill(value), dims })
const zeros = (...dims: number[]) => filled(0, ...dims)

/** A picture, or a mask: opaque where `inside` says so */
const pixels = (width: number, height: number, inside = (_y: number, _x: number) => true) =>
  ({ width, height, data: Uint8ClampedArray.from({ length: 4 * width * height }, (_, i) => (i % 4 === 3 && !inside(Math.floor(i / 4 / width), Math.floor(i / 4) % width) ? 0 : 255)) })

/** A model that says 0 without and 1 (or `said`) with the prompt, and counts. */
function makeModel(said = 1) {
  return {
    info: { size: 32, factor: 8, latent_channels: 4, scheduler },
    tokenize: vi.fn((text: string) => ({ ids: [text.length] })),
    encode: vi.fn(async ([length]: number[]) => ({ data: Float32Array.of(length), dims: [1, 1] })),
    unet: vi.fn(async ({ dims }: any, _t: number, embeds: any[]) => {
      const fill = (...shape: number[]) => {
        const x = zeros(embeds.length, ...shape)
        x.data.fill(said, x.data.length / embeds.length * (embeds.length - 1))
        return x
      }
      return { 'noise_pred': fill(...dims), 'attention.mid': fill(77, 2, 2), 'features.mid': fill(2, 2) }
    }),
    decode: vi.fn(async () => 'a picture'),
    posterior: vi.fn(async ({ width, height }: any) => ({ mean: filled(0.5, 4, height / 8, width / 8), std: filled(0.1, 4, height / 8, width / 8) })),
  }
}

function start(settings: object, cancelled = () => false, said = 1) {
  const model = makeModel(said)
  const watch = { onTokens: vi.fn(), onEmbeddings: vi.fn(), onStep: vi.fn() }
  const finished = paint(model as any, { prompt: 'a ship', steps: 4, ...settings }, watch, cancelled)
  return { model, watch, finished, steps: () => watch.onStep.mock.calls.map(([step]) => step) }
}

test('as many steps, and as much guidance, as in Python', () => {
  const [call] = readFileSync('src/sdscope/pipeline.py', 'utf8').split('# region call')[1].split('# endregion call')
  for (const [name, value] of [['num_inference_steps: int', USUAL.steps], ['guidance_scale: float', USUAL.guidance]] as const)
    expect(Number(call.match(new RegExp(`${name} = ([\\d.]+)`))![1])).toBe(value)
})

test('guidance: both prompts in one call, and the difference made larger', async () => {
  const run = start({ guidance: 3, negativePrompt: 'night', seed: 7 })
  expect(await run.finished).toMatchObject({ image: 'a picture', latents: { dims: [4, 4, 4] } })
  expect(run.model.unet.mock.calls.map(([, , embeds]) => embeds.map(e => e.data[0]))).toEqual(Array(4).fill([5, 6]))
  const [first] = run.steps()
  expect([first.uncond.data[0], first.cond.data[0], first.guided.data[0]]).toEqual([0, 1, 3])
  expect(first.latents.data).toEqual(randn(64, 7))
  expect(run.watch.onTokens).toHaveBeenCalledWith({ ids: [6] }, { ids: [5] })
})

test('guidance 1: the prompt alone', async () => {
  const run = start({ guidance: 1 })
  await run.finished
  expect(run.model.unet.mock.calls.map(([, , embeds]) => embeds.length)).toEqual([1, 1, 1, 1])
  expect(run.steps()[0]).toMatchObject({ uncond: null, image: null, attention: {}, features: {} })
  expect(run.watch.onEmbeddings).toHaveBeenCalledWith(expect.objectContaining({ data: Float32Array.of(6) }), null)
})

test('what a step holds when asked: the half with the prompt', async () => {
  const run = start({ attention: true, features: true, images: 1 })
  await run.finished
  const { attention, features, image } = run.steps()[3]
  expect(attention.mid).toEqual({ data: new Float32Array(77 * 4).fill(1), dims: [77, 2, 2] })
  expect(features.mid).toEqual({ data: new Float32Array(4).fill(1), dims: [2, 2] })
  expect(image).toBe('a picture')
})

test('pictures of the steps take their share of the time, and every first step has one', async () => {
  const clock = vi.spyOn(performance, 'now')
  let now = 0
  clock.mockImplementation(() => now)
  const run = start({ steps: 10, images: 0.25 })
  const { unet, decode } = run.model
  const [predict, develop] = [unet.getMockImplementation()!, decode.getMockImplementation()!]
  unet.mockImplementation(async (...given) => (now += 2, predict(...given)))
  decode.mockImplementation(async () => (now += 3, develop()))
  await run.finished
  clock.mockRestore()
  expect(run.steps().map(step => step.image !== null)).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 0, 1].map(Boolean))
})

test('cancelled: no further step', async () => {
  let seen = 0
  const run = start({}, () => seen === 2)
  run.watch.onStep.mockImplementation(() => seen++)
  expect(await run.finished).toBe(null)
  expect(run.model.unet).toHaveBeenCalledTimes(2)
  expect(run.model.decode).not.toHaveBeenCalled()
})

test('latents and embeddings of one\'s own', async () => {
  const latents = { data: new Float32Array(64).fill(0.5), dims: [4, 4, 4] }
  const run = start({ latents, promptEmbeds: { data: Float32Array.of(99), dims: [1, 1] }, width: 32 })
  await run.finished
  expect(run.steps()[0].latents.data).toEqual(latents.data)
  expect(run.model.unet.mock.calls[0][2][1].data[0]).toBe(99)
})

test('from a picture: the last steps, from its latents with as much noise as is due', async () => {
  const run = start({ steps: 10, seed: 7, from: { image: pixels(64, 16), strength: 0.35 } })
  expect(await run.finished).toMatchObject({ latents: { dims: [4, 2, 8] } })
  const { timesteps, addNoise } = makeScheduler('ddim', scheduler, 10)
  expect(run.steps().map(step => [step.i, step.t])).toEqual(timesteps.slice(7).map((t, i) => [i, t]))
  const draw = generator(7) // first what the encoder draws, then the noise
  const given = draw(64).map(value => 0.5 + Math.fround(0.1) * value)
  expect(run.steps()[0].latents.data).toEqual(addNoise(given, draw(64), 7))
})

test('with a mask: outside of it the picture stays', async () => {
  const left = pixels(32, 32, (_, x) => x < 15) // of the nearest pixels, 0, 8, 16 and 24, two
  const run = start({ steps: 4, from: { image: pixels(32, 32), strength: 1, mask: left } })
  const { latents } = (await run.finished)!
  const draw = generator(0)
  const given = draw(64).map(value => 0.5 + Math.fround(0.1) * value)
  expect(run.steps()[0].latents.data).toEqual(draw(64)) // noise alone
  const kept = [...latents.data.keys()].map(k => k % 4 >= 2)
  expect([...latents.data].map((value, k) => value === given[k])).toEqual(kept)
})

test.each([[15, 1, 15], [15, 0.7, 10], [15, 0.1, 1], [4, 0.1, 0], [10, 0.35, 3]])('of %d steps, a strength of %d leaves %d', (steps, strength, taken) => {
  expect(stepsTaken({ steps, from: { image: pixels(8, 8) as any, strength } })).toBe(taken)
  expect(stepsTaken({ steps })).toBe(steps)
})

test('an oblong picture', async () => {
  expect(await start({ width: 64, height: 16 }).finished).toMatchObject({ latents: { dims: [4, 2, 8] } })
})

test.each([
  [{ steps: 0 }, 'steps', { most: 999 }], [{ steps: 1000 }, 'steps', { most: 999 }], [{ steps: 2.5 }, 'steps', { most: 999 }],
  [{ width: 36 }, 'size', { factor: 8, size: 32 }], [{ height: 8 }, 'size', { factor: 8, size: 32 }],
  [{ from: { image: pixels(36, 32), strength: 1 } }, 'size', { factor: 8, size: 32 }],
  [{ from: { image: pixels(32, 32), strength: 0.2 } }, 'strength', { strength: 0.2, steps: 4, least: 0.25 }],
  [{ from: { image: pixels(32, 32), strength: 1.1 } }, 'strength', { strength: 1.1, steps: 4, least: 0.25 }],
  [{ from: { image: pixels(32, 32), strength: Number.NaN } }, 'strength', { strength: Number.NaN, steps: 4, least: 0.25 }],
  [{ from: { image: pixels(32, 32), strength: 1, mask: pixels(32, 32, (y, x) => y % 8 > 0 && x % 8 > 0) } }, 'mask', {}],
  [{ guidance: Number.NaN }, 'guidance', {}], [{ seed: -1 }, 'seed', {}], [{ seed: 2 ** 53 }, 'seed', {}], [{ prompt: '\uD800' }, 'prompt', {}],
])('%o is refused before any work', async (settings, setting, values) => {
  const run = start(settings)
  await expect(run.finished).rejects.toMatchObject({ code: `settings-${setting}`, values })
  expect(run.model.encode).not.toHaveBeenCalled()
})

const nan = { data: new Float32Array(64).fill(Number.NaN), dims: [4, 4, 4] }

test.each([
  [{ guidance: 1e39 }, 1, 'lost-in-guidance', 1, 4],
  [{ guidance: 1e38, steps: 1 }, 1, 'lost-in-guidance', 1, 1],
  [{}, Number.NaN, 'lost-in-network', 1, 4],
  [{ guidance: 1 }, Infinity, 'lost-in-network', 1, 4],
  [{ latents: nan }, 1, 'lost-before', 1, 4],
  [{ scheduler: 'dpm++', steps: 999 }, 1, 'lost-in-scheduler', 2, 999],
])('%o, and %d from the network: an error, not a black picture', async (settings, said, code, step, steps) => {
  const run = start(settings, undefined, said)
  await expect(run.finished).rejects.toMatchObject({ code, values: { step, steps } })
  expect(run.model.decode).not.toHaveBeenCalled()
  expect(run.steps().every(step => step.x0.data.every(Number.isFinite))).toBe(true)
})
