// A diffusion model of points in the plane: a small network learns to say v, as Postcard's UNet does, and DDIM leads back
// from noise. The loss: Ho et al., arXiv:2006.11239. v: Salimans and Ho, arXiv:2202.00512. The slopes are those of jax-js.

import { grad, jit, nn, numpy as np, tree } from '@jax-js/jax'
import { mt19937, randn } from '../engine/random'
import type { Points } from './points'
import { addNoise, scheduler, shares, START, TIMES, velocity } from './recipe'

/** What there is to see of a training. The first is that of a network which has learned nothing. */
export interface Seen {
  step: number
  of: number
  /** Of the same noisy points each time; and what is the least for who knows the drawing by heart. */
  loss: number
  least: number
  /** Now and then: noise, and where the network would lead it now, step by step. */
  way: Points[] | null
}

const STEPS = 2000
const BATCH = 256
const RATE = 2e-2 // at the beginning; it falls to 0
const EXAM = 1000 // noisy points
const SEED = STEPS + 1 // and on: each step has its number

// ------------------------------------------------------------------ the network
/** A matrix and what is added, for each of three layers */
type Weights = np.Array[]

const WIDTHS = [22, 96, 96, 2]
const waves = (x: number, ...frequencies: number[]) => frequencies.flatMap(frequency => [Math.cos(frequency * x), Math.sin(frequency * x)])
const rows = (numbers: ArrayLike<number>, width: number) => np.array(Float32Array.from(numbers)).reshape([numbers.length / width, width])

/** Where points are, and the times; as waves, too, in which small differences are large. (n, 22) */
function asGiven(points: Points, times: number[]) {
  return rows(times.flatMap((t, i) => {
    const [x, y] = points.subarray(2 * i)
    const [alpha, sigma] = shares(t)
    return [x, y, ...waves(x, 1, 2, 4), ...waves(y, 1, 2, 4), ...waves(Math.atan2(sigma, alpha), 1, 2, 4, 8)]
  }), WIDTHS[0])
}

const firstWeights = (): Weights => WIDTHS.slice(1).flatMap((width, i) => [
  rows(randn(WIDTHS[i] * width, SEED + i), width).mul(1 / Math.sqrt(WIDTHS[i])),
  np.zeros([width]),
])

/** (n, 22) -> v (n, 2) */
function network([w1, b1, w2, b2, w3, b3]: Weights, given: np.Array) {
  const first = nn.silu(np.dot(given, w1).add(b1))
  const second = nn.silu(np.dot(first, w2).add(b2))
  return np.dot(second, w3).add(b3)
}

const lossOf = (weights: Weights, given: np.Array, v: np.Array) => np.square(network(weights, given).sub(v)).mean()

// What is given to a function of jax-js is gone afterwards: who still needs it gives a .ref.
const [predict, mark] = [jit(network), jit(lossOf)]

/** One step of Adam, arXiv:1412.6980. */
const learn = jit((weights: Weights, means: Weights, squares: Weights, given: np.Array, v: np.Array, rate: np.Array) => {
  const slopes = grad(lossOf)(tree.ref(weights), given, v)
  means = means.map((mean, i) => mean.mul(0.9).add(slopes[i].ref.mul(0.1)))
  squares = squares.map((square, i) => square.mul(0.999).add(np.square(slopes[i]).mul(0.001)))
  weights = weights.map((w, i) => w.sub(means[i].ref.div(np.sqrt(squares[i].ref).add(1e-8)).mul(rate.ref)))
  rate.dispose()
  return [weights, means, squares]
})

// ------------------------------------------------------------------ learning
/** Some of the points, each with noise and a time of its own: what the network sees of it, and the v that it is to say. */
function lesson(points: Points, count: number, random: () => number, noise: Points) {
  const chosen = Float32Array.from({ length: count }, () => random() % (points.length / 2))
  const x0 = Float32Array.from({ length: 2 * count }, (_, i) => points[2 * chosen[i >> 1] + i % 2])
  const times = Array.from({ length: count }, () => Math.floor(TIMES * (random() / 2 ** 32) ** 2)) // less noise more often, as Postcard does: there are the details
  return { seen: addNoise(x0, noise, times), times, v: velocity(x0, noise, times) }
}

/** The loss of who knows all points by heart, and cannot tell either which of them it was: their mean, by how likely each is. */
function leastLoss(points: Points, { seen, times, v }: ReturnType<typeof lesson>) {
  let sum = 0
  times.forEach((t, i) => {
    const [alpha, sigma] = shares(t)
    const [x, y] = seen.subarray(2 * i)
    let [all, meanX, meanY] = [1e-30, 0, 0]
    for (let j = 0; j < points.length; j += 2) {
      const likely = Math.exp(-((x - alpha * points[j]) ** 2 + (y - alpha * points[j + 1]) ** 2) / (2 * sigma ** 2))
      all += likely
      meanX += likely * points[j]
      meanY += likely * points[j + 1]
    }
    // v follows from x0, as in scheduler.py
    sum += ((alpha * x - meanX / all) / sigma - v[2 * i]) ** 2 + ((alpha * y - meanY / all) / sigma - v[2 * i + 1]) ** 2
  })
  return sum / v.length
}

/** The same points, the same training: nothing in it is left to chance. */
export function* train(points: Points): Generator<Seen> {
  const exam = lesson(points, EXAM, mt19937(1), randn(2 * EXAM, SEED + 10))
  const least = leastLoss(points, exam)
  const [questions, answers] = [asGiven(exam.seen, exam.times), rows(exam.v, 2)]

  const random = mt19937(2)
  let weights = firstWeights()
  let [means, squares] = [0, 1].map(() => weights.map(w => np.zeros(w.shape)))
  for (let step = 0; step <= STEPS; step++) {
    if (step % 40 === 0) {
      const loss = mark(tree.ref(weights), questions.ref, answers.ref).js() as number
      yield { step, of: STEPS, loss, least, way: step % 200 === 0 ? lead(weights) : null }
    }
    const { seen, times, v } = lesson(points, BATCH, random, randn(2 * BATCH, step))
    // the means begin at 0, which the paper makes up for (section 2)
    const rate = RATE * (1 - step / STEPS) * Math.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1))
    ;[weights, means, squares] = learn(weights, means, squares, asGiven(seen, times), rows(v, 2), np.array(rate))
    weights.at(-1)!.ref.dataSync() // jax-js puts work off until somebody looks
  }
}

/** From noise to points, and all that is on the way. */
function lead(weights: Weights) {
  const way = [START]
  scheduler.timesteps.forEach((t, i) => {
    const v = predict(tree.ref(weights), asGiven(way[i], Array(START.length / 2).fill(t))).dataSync() as Float32Array
    way.push(scheduler.step(v, i, way[i]).prev)
  })
  return way
}
