// What engine.ts and worker.ts say to each other.

import type { Options } from './model'
import type { ErrorCode, Loaded, Result, Settings, Tensor, Tokens, Watch } from './types'

/** What the worker can be asked for: name -> its arguments and what it gives. */
export interface Calls {
  load: (options: Omit<Options, 'onProgress'>) => Loaded
  paint: (settings: Settings) => Result | null
  tokenize: (text: string) => Tokens
  encode: (text: string) => Tensor
  decode: (latents: Tensor) => ImageData
  cancel: (id: number) => void
}

export type Request = { [Name in keyof Calls]: { id: number, call: Name, argument: Parameters<Calls[Name]>[0] } }[keyof Calls]

export interface Events extends Required<Watch> {
  onProgress: Options['onProgress']
}

export type Reply = { id: number } & (
  | { event: keyof Events, values: any[] }
  | { done: any }
  | { error: { code: ErrorCode, message: string } }
)
