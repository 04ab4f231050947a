// Which times to visit, and how to take one step towards no noise: the numbers of src/sdscope/scheduler.py (DDIM)
// and of diffusers' EulerDiscreteScheduler and DPMSolverMultistepScheduler (order 2), made from the same config.

import type { SchedulerConfig, SchedulerName } from './types'

type Numbers = Float32Array

export interface Scheduler {
  timesteps: number[]
  /** How much stronger than the standard normal the first latents are. */
  initNoiseSigma: number
  /** The latents as the UNet is to see them at step i. */
  scaleModelInput: (latents: Numbers, i: number) => Numbers
  /** The UNet's output at step i -> the less noisy latents, and the finished ones it aims at. */
  step: (output: Numbers, i: number, latents: Numbers) => { prev: Numbers, x0: Numbers }
  /** Latents without noise -> with as much as there is before step i; after the last step there is none. */
  addNoise: (x0: Numbers, noise: Numbers, i: number) => Numbers
}

export function makeScheduler(name: SchedulerName, config: SchedulerConfig, steps: number): Scheduler {
  return { 'ddim': ddim, 'euler': euler, 'dpm++': dpmSolver }[name](config, steps)
}

/** a x + b y: every step of every scheduler is made of this. */
export const combine = (a: number, x: Numbers, b: number, y: Numbers) => x.map((value, i) => a * value + b * y[i])

const asItIs = (latents: Numbers) => latents

/** What is left of the picture (of its variance) at every time: all 1 - beta so far, multiplied. */
export function alphasCumprod(c: SchedulerConfig): Float64Array {
  const [first, last] = [Math.sqrt(c.beta_start), Math.sqrt(c.beta_end)]
  let product = 1
  return Float64Array.from({ length: c.num_train_timesteps }, (_, t) => {
    const beta = (first + (last - first) * t / (c.num_train_timesteps - 1)) ** 2
    return product *= 1 - beta
  })
}

/** steps times a stride apart, from noisy to clean: 15 steps are 925, 859, …, 67, 1. */
function spaced(c: SchedulerConfig, steps: number, stride: number, first = 0) {
  return Array.from({ length: steps }, (_, i) => (steps - 1 - i + first) * stride + c.steps_offset)
}

/** The UNet's output, noise or v, as noise and as x0, where the picture's share of the variance is a. */
function predictions(c: SchedulerConfig, output: Numbers, latents: Numbers, a: number) {
  const [alpha, sigma] = [Math.sqrt(a), Math.sqrt(1 - a)]
  if (c.prediction_type === 'epsilon')
    return { noise: output, x0: combine(1 / alpha, latents, -sigma / alpha, output) }
  return { noise: combine(alpha, output, sigma, latents), x0: combine(alpha, latents, -sigma, output) }
}

/** Song et al., arXiv:2010.02502, equation 12 with sigma = 0. */
function ddim(c: SchedulerConfig, steps: number): Scheduler {
  const alphas = alphasCumprod(c)
  const stride = Math.floor(c.num_train_timesteps / steps)
  const timesteps = spaced(c, steps, stride)
  return {
    timesteps,
    initNoiseSigma: 1,
    scaleModelInput: asItIs,
    step(output, i, latents) {
      const { noise, x0 } = predictions(c, output, latents, alphas[timesteps[i]])
      const a = alphas[timesteps[i] - stride] ?? (c.set_alpha_to_one ? 1 : alphas[0])
      return { prev: combine(Math.sqrt(a), x0, Math.sqrt(1 - a), noise), x0 }
    },
    addNoise(x0, noise, i) {
      const a = alphas[timesteps[i]] ?? 1
      return combine(Math.sqrt(a), x0, Math.sqrt(1 - a), noise)
    },
  }
}

/** The noise's strength beside a picture of strength 1 at each of the times, and 0 at the end. */
function sigmasAt(c: SchedulerConfig, timesteps: number[]) {
  const alphas = alphasCumprod(c)
  const last = c.num_train_timesteps - 1
  return [...timesteps.map(t => alphas[Math.min(t, last)]).map(a => Math.sqrt((1 - a) / a)), 0]
}

/** Karras et al., arXiv:2206.00364, algorithm 1 without churn. Its latents are x0 + sigma noise. */
function euler(c: SchedulerConfig, steps: number): Scheduler {
  const timesteps = spaced(c, steps, Math.floor(c.num_train_timesteps / steps))
  const sigmas = sigmasAt(c, timesteps)
  const norm = (i: number) => Math.sqrt(sigmas[i] ** 2 + 1) // of these latents
  const scaled = (latents: Numbers, i: number) => latents.map(value => value / norm(i))
  return {
    timesteps,
    initNoiseSigma: norm(0),
    scaleModelInput: scaled,
    step(output, i, latents) {
      const { x0 } = predictions(c, output, scaled(latents, i), 1 / norm(i) ** 2)
      const left = sigmas[i + 1] / sigmas[i]
      return { prev: combine(left, latents, 1 - left, x0), x0 }
    },
    addNoise: (x0, noise, i) => combine(1, x0, sigmas[i], noise),
  }
}

/** DPM-Solver++ 2M (Lu et al., arXiv:2211.01095): a straight line through this x0 and the one before. */
function dpmSolver(c: SchedulerConfig, steps: number): Scheduler {
  const timesteps = spaced(c, steps, Math.floor(c.num_train_timesteps / (steps + 1)), 1)
  const sigmas = sigmasAt(c, timesteps)
  const alpha = (i: number) => 1 / Math.sqrt(sigmas[i] ** 2 + 1)
  const lambda = (i: number) => -Math.log(sigmas[i])
  let before: Numbers | null = null
  return {
    timesteps,
    initNoiseSigma: 1,
    scaleModelInput: asItIs,
    step(output, i, latents) {
      const { x0 } = predictions(c, output, latents, alpha(i) ** 2)
      const last = i === steps - 1
      let aim = x0
      if (before && !last) {
        const ratio = (lambda(i + 1) - lambda(i)) / (lambda(i) - lambda(i - 1))
        aim = combine(1 + ratio / 2, x0, -ratio / 2, before)
      }
      before = x0
      const left = sigmas[i + 1] / sigmas[i]
      return { prev: combine(left * alpha(i + 1) / alpha(i), latents, alpha(i + 1) * (1 - left), aim), x0 }
    },
    addNoise: (x0, noise, i) => combine(alpha(i), x0, alpha(i) * sigmas[i], noise),
  }
}

/** No scheduler at all: at DDIM's times, `share` of what is said to be noise is subtracted. */
export function subtracting(share: number, c: SchedulerConfig, steps: number): Scheduler {
  const alphas = alphasCumprod(c)
  const scheduler = ddim(c, steps)
  return {
    ...scheduler,
    step(output, i, latents) {
      const { noise, x0 } = predictions(c, output, latents, alphas[scheduler.timesteps[i]])
      return { prev: combine(1, latents, -share, noise), x0 }
    },
  }
}
