import { expect, test } from 'vitest'
import { drawOn, MOST, SHAPES } from '../../slides/toy/points'
import type { Points } from '../../slides/toy/points'
import { addNoise, scheduler, START, velocity } from '../../slides/toy/recipe'
import { train } from '../../slides/toy/train'

/** How far points lie from the nearest of others, in the mean */
function apart(points: Points, others: Points) {
  let sum = 0
  for (let i = 0; i < points.length; i += 2) {
    let nearest = Infinity
    for (let j = 0; j < others.length; j += 2)
      nearest = Math.min(nearest, Math.hypot(points[i] - others[j], points[i + 1] - others[j + 1]))
    sum += nearest
  }
  return 2 * sum / points.length
}

function upTo(step: number, points: Points) {
  const all = []
  for (const seen of train(points)) {
    all.push(seen)
    if (seen.step === step)
      break
  }
  return all
}

test.each(Object.entries(SHAPES))('%s: mean 0 and spread 1, as latents have', (_, points) => {
  const mean = points.reduce((a, b) => a + b) / points.length
  const square = points.reduce((sum, x) => sum + x ** 2, 0) / points.length
  expect(Math.abs(mean)).toBeLessThan(0.02)
  expect(Math.abs(square - 1)).toBeLessThan(0.03)
})

test('from v and the noisy points follow the points, at every time of the way', () => {
  const x0 = SHAPES.heart.slice(0, START.length)
  scheduler.timesteps.forEach((t, i) => {
    const times = Array(x0.length / 2).fill(t)
    const { x0: found } = scheduler.step(velocity(x0, START, times), i, addNoise(x0, START, times))
    expect(Math.max(...found.map((x, j) => Math.abs(x - x0[j])))).toBeLessThan(1e-5)
  })
})

test('the loss falls to nearly the least that can be, and noise is led to the points', () => {
  const points = SHAPES.SD
  const seen = upTo(Infinity, points)
  const [first, last] = [seen[0], seen.at(-1)!]
  expect(last.step).toBe(last.of)
  expect(last.loss).toBeGreaterThan(last.least)
  expect(last.loss - last.least).toBeLessThan(0.15 * (first.loss - first.least))
  expect(last.way![0]).toEqual(START)
  expect(last.way!.length).toBe(scheduler.timesteps.length + 1)
  expect(apart(last.way!.at(-1)!, points)).toBeLessThan(0.1)
  expect(apart(points, last.way!.at(-1)!)).toBeLessThan(0.1) // and none of the points is left out
  expect(apart(first.way!.at(-1)!, points)).toBeGreaterThan(0.2)
})

test('the same points, the same training', () => {
  expect(upTo(80, SHAPES.spiral)).toEqual(upTo(80, SHAPES.spiral))
})

test('few points, all of them in one place', () => {
  const [{ loss, least, way }] = upTo(0, new Float32Array(20).fill(0.5))
  expect([loss, least, ...way!.at(-1)!].every(Number.isFinite)).toBe(true)
  expect(least).toBeLessThan(1e-6)
})

test('a stroke of the pen: points along it, and never more than there may be', () => {
  const drawn = drawOn(Float32Array.of(0, 0), [0, 0], [0.61, 0])
  expect(drawn.length / 2).toBe(21)
  expect(Math.abs(drawn.at(-2)! - 0.61)).toBeLessThan(0.2)
  expect(drawOn(drawn, [0.61, 0], [0.62, 0])).toEqual(drawn)
  expect(drawOn(drawn, [0, 0], [99, 0]).length / 2).toBe(MOST)
})
