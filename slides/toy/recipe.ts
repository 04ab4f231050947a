// How points become noise, and the way back: the recipe of Postcard, with the numbers of src/sdscope/scheduler.py.

import config from '../../src/sdscope/postcard/weights/scheduler/scheduler_config.json'
import { randn } from '../engine/random'
import { alphasCumprod, makeScheduler } from '../engine/scheduler'
import type { SchedulerConfig } from '../engine/types'
import { MOST } from './points'
import type { Points } from './points'

const settings = config as SchedulerConfig
const alphas = alphasCumprod(settings)

/** DDIM, in 40 steps. */
export const scheduler = makeScheduler('ddim', settings, 40)
/** The noise into which what is drawn dissolves, and another from which the way back begins, of 400 points. */
export const NOISE = randn(2 * MOST, 7)
export const START = randn(800, 42)
/** As many times as there are between points and noise. */
export const TIMES = alphas.length

/** What stands before the points and before the noise at time t: √ᾱ and √(1 - ᾱ). */
export const shares = (t: number) => [Math.sqrt(alphas[t]), Math.sqrt(1 - alphas[t])]

/** The forward process, no network: every point at a time of its own. */
export const addNoise = (x0: Points, noise: Points, times: number[]) => x0.map((x, i) => {
  const [alpha, sigma] = shares(times[i >> 1])
  return alpha * x + sigma * noise[i]
})

/** What a network of v learns. */
export const velocity = (x0: Points, noise: Points, times: number[]) => x0.map((x, i) => {
  const [alpha, sigma] = shares(times[i >> 1])
  return alpha * noise[i] - sigma * x
})
