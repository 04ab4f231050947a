// What page.ts and worker.ts say to each other.

import type { ModelInfo, Network, Tensor, Tokens } from '../engine/types'
import type { Change } from './types'

/** A task as run.py has it. */
export interface Asked {
  changes: Change[]
  /** null: the call of the pipe */
  cell: string | null
  names: Record<string, unknown>
  info: ModelInfo
}

/** What came of it. */
export type Outcome =
  | { pixels: Uint8Array, width: number, height: number }
  | { text: string }
  | { wrong: string, region: string | null, line: number | null }

/** To the worker: load; run; an answer to a question of its; stop. */
export type ToWorker =
  | { load: { base: string, sources: Record<string, string>, interrupts: SharedArrayBuffer | null } }
  | { run: Asked }
  | { answer: number, value?: Tensor | Tokens, error?: string }
  | { stop: true }

/** From the worker. `ask`: a question, by its number. */
export type FromWorker =
  | { bytes: number }
  | { loaded: true }
  | { ask: number, network?: Network, text?: string }
  | { print: string }
  | { cut: true } // what else is printed is not sent
  | { step: { i: number, t: number, latents: Tensor, pred_x0: Tensor | null } }
  | { done: Outcome, seconds: number, waited: number }
  | { lost: string }
