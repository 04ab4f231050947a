import { expect, test } from 'vitest'
import { makeScheduler, subtracting } from '../../slides/engine/scheduler'
import { readJson, said } from './setup'

const BOUND = 2e-5 // of the largest number; float32 alone makes half of it

function expectClose(ours: Float32Array, theirs: number[]) {
  const largest = Math.max(...theirs.map(Math.abs))
  const furthest = Math.max(...theirs.map((value, i) => Math.abs(value - ours[i])))
  expect(furthest / largest).toBeLessThan(BOUND)
}

const cases = said('schedulers').map((c: any) => ({ ...c, title: `${c.name}, ${c.steps.length} steps, ${c.config.prediction_type}, offset ${c.config.steps_offset}` }))

test.each(cases)('the numbers of Python: $title', ({ name, config, timesteps, sigma, latents, steps }) => {
  const scheduler = makeScheduler(name, config, steps.length)
  expect(scheduler.timesteps).toEqual(timesteps)
  expect(scheduler.initNoiseSigma).toBeCloseTo(sigma, 4)
  let now = Float32Array.from(latents)
  steps.forEach(({ seen, output, noisy, prev, x0 }: any, i: number) => {
    expectClose(scheduler.scaleModelInput(now, i), seen)
    expectClose(scheduler.addNoise(now, Float32Array.from(output), i), noisy)
    const step = scheduler.step(Float32Array.from(output), i, now)
    expectClose(step.prev, prev)
    if (x0)
      expectClose(step.x0, x0)
    now = Float32Array.from(prev)
  })
  expect(scheduler.addNoise(now, now.map(() => 1), steps.length)).toEqual(now) // after the last step there is none
})

test('without a scheduler the share of the noise is subtracted', () => {
  const config = { ...readJson('src/sdscope/postcard/weights/scheduler/scheduler_config.json'), prediction_type: 'epsilon' }
  const { prev } = subtracting(0.25, config, 4).step(Float32Array.of(1, -2), 0, Float32Array.of(3, 4))
  expect([...prev]).toEqual([2.75, 4.5])
})
