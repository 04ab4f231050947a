// What engine.ts and worker.ts say to each other.

import type { Options } from './model'
import type { EngineError, Loaded, Network, Result, Settings, Tensor, Tokens, Watch } from './types'

/** What the worker can be asked for: name -> its arguments and what it gives. */
export interface Calls {
  load: (options: Omit<Options, 'onProgress'>) => Loaded
  paint: (settings: Settings) => Result | null
  tokenize: (text: string) => Tokens
  encode: (text: string) => Tensor
  decode: (latents: Tensor) => ImageData
  network: (asked: Network) => Tensor
}

/** A call, to be answered by its number; or: stop that run. */
export type Request = { id: number, call: keyof Calls, argument: unknown } | { cancel: number }

export interface Events extends Required<Watch> {
  onProgress: Options['onProgress']
}

export type Reply = { id: number } & (
  | { event: keyof Events, values: any[] }
  | { done: any }
  | { error: Pick<EngineError, 'code' | 'values'> }
)
