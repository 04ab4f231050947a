// What goes in and out of the engine. The names are those of src/sdscope/pipeline.py and trace/record.py.

/** Numbers in rows: latents [4, h, w], embeddings [77, D], an attention map [77, h, w], features [h, w]. */
export interface Tensor {
  data: Float32Array
  dims: number[]
}

/** What src/sdscope/pipeline.py takes when nothing is said. */
export const USUAL = { steps: 15, guidance: 5 }
/** So few do nearly as well: src/sdscope/postcard/MODEL_CARD.md, the marks by steps. */
export const FEW = 4

export type SchedulerName = 'ddim' | 'euler' | 'dpm++'
export type Device = 'wasm' | 'webgpu'

export interface Settings {
  prompt: string
  negativePrompt?: string
  /** A whole number from 0. The same seed starts from the same latents as in Python. */
  seed?: number
  steps?: number
  /** guidance_scale; 1 or less: the prompt alone, half the work. */
  guidance?: number
  scheduler?: SchedulerName
  /** In pixels, multiples of 8. */
  width?: number
  height?: number
  /** What each step is to hold. */
  attention?: boolean
  features?: boolean
  /** The share of the time that may go into pictures of x0, from 0 to 1, where every step has one: the decoder costs more than the UNet. */
  images?: number
  /** To start from these, [4, h, w], instead of the seed's noise. */
  latents?: Tensor
  /** To begin further on, with a picture: it says how large the new one is. */
  from?: Beginning
  /** In place of the prompt's embeddings, [77, D]: for what lies between two prompts. */
  promptEmbeds?: Tensor
  /** Without a scheduler: after each UNet call this share of the predicted noise is subtracted, and that is all. */
  subtract?: number
}

/** src/sdscope/image_to_image.py, and with a mask src/sdscope/inpaint.py: the same seed paints the same here as in Python. */
export interface Beginning {
  /** Opaque: what is transparent counts as the colour that it hides. */
  image: ImageData
  /** Above 0 up to 1: which part of the steps is taken, from how much noise. */
  strength: number
  /** Where it is opaque the picture is painted again; the rest stays. */
  mask?: ImageData
}

/** How many of the steps a run takes: beginning with a picture the last ones, counted as diffusers' get_timesteps does. */
export const stepsTaken = ({ steps, from }: { steps: number, from?: Beginning }) =>
  from ? Math.min(Math.floor(steps * from.strength), steps) : steps

/** One text as the text encoder reads it: always as many tokens as it has places. */
export interface Tokens {
  ids: number[]
  /** The vocabulary's string for each, such as `ship</w>`. */
  pieces: string[]
  /** Pieces glued to words, with their positions. Start, end and padding are left out. */
  words: { word: string, positions: number[] }[]
  /** The words that are not in the vocabulary: they are read in pieces. */
  unknown: string[]
  /** The ids without padding and before anything was left out; the words that did not fit, or ''. */
  all: number[]
  dropped: string
}

export interface Step {
  /** Of those that are taken, from 0. */
  i: number
  t: number
  /** As the scheduler was given them, [4, h, w]. */
  latents: Tensor
  /** What the UNet said without and with the prompt (`uncond` is null without guidance), and the two combined. */
  uncond: Tensor | null
  cond: Tensor
  guided: Tensor
  /** The finished latents that this step aims at, and their picture. */
  x0: Tensor
  image: ImageData | null
  /** Of the half with the prompt, by the UNet's part: how much each place looks at each token, [77, h, w]. */
  attention: Record<string, Tensor>
  /** Of the same half, by part: the mean over the channels of what it gives, [h, w]. */
  features: Record<string, Tensor>
}

/** One of the networks by itself, as src/sdscope/web.py names what goes in and comes out. */
export interface Network {
  name: 'text_encoder' | 'unet' | 'vae_decoder'
  inputs: Record<string, { data: Float32Array | Int32Array, dims: number[] }>
  output: string
}

export interface Watch {
  onTokens?: (prompt: Tokens, negative: Tokens | null) => void
  onEmbeddings?: (cond: Tensor, uncond: Tensor | null) => void
  onStep?: (step: Step) => void
}

export interface Result {
  image: ImageData
  latents: Tensor
  seconds: number
}

/** What `sdscope export-web` says about a model: public/model/model.json. */
export interface ModelInfo {
  version: string
  files: Record<string, { bytes: number, sha256: string }>
  /** The side of its pictures in pixels; pixels a latent, each way. */
  size: number
  factor: number
  latent_channels: number
  scaling_factor: number
  embedding_size: number
  tokens: { length: number, end: number, pad: number }
  scheduler: SchedulerConfig
  /** Some that it can paint. */
  prompts: string[]
}

export interface SchedulerConfig {
  num_train_timesteps: number
  beta_start: number
  beta_end: number
  steps_offset: number
  set_alpha_to_one: boolean
  prediction_type: 'epsilon' | 'v_prediction'
}

export interface Loaded {
  info: ModelInfo
  device: Device
  threads: number
}

export type ErrorCode =
  | 'no-webassembly' | 'no-worker' | 'no-network' | 'broke-off' | 'missing-file' | 'corrupt-file' | 'no-memory' | 'closed' | 'failed' | 'no-picture'
  | `lost-${'before' | 'in-scheduler' | 'in-network' | 'in-guidance'}`
  | `settings-${'prompt' | 'size' | 'steps' | 'guidance' | 'seed' | 'strength' | 'mask'}`

/** What can go wrong: a code and what belongs to it. The sentence for the reader: told() of slides/words/. */
export class EngineError extends Error {
  constructor(readonly code: ErrorCode, readonly values: Record<string, string | number> = {}) {
    super(code)
    this.name = 'EngineError'
  }
}
