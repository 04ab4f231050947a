// What the editor asks of a Python, whichever it is: the one in this page (page.ts), or torch on the speaker's machine.
//
//     const python = openPython()          // nothing is fetched yet
//     const run = python.run({ changes: [{ module: 'pipeline', region: 'denoise', code }], settings }, { onStep: … })
//     const { picture } = await run.finished   // or Failure: error, stopped, lost, missing
//
// A run without a cell is `pipe(prompt, …)` with these settings. A cell is run after the setting-up that its notebook
// does first, in names of its own that nobody sees afterwards: every run begins from the code as it was, plus `changes`.

/** The file below src/sdscope/, without .py. In this page: pipeline and scheduler; on the speaker's machine also unet, vae, … */
export type Module = 'pipeline' | 'scheduler' | (string & {})

/** The whole text of a region as it is shown (without the markers of regions within it), and edited. */
export interface Change {
  module: Module
  region: string
  code: string
}

/** By the names of src/sdscope/pipeline.py; what is left out is its default. */
export interface Settings {
  prompt: string
  negative_prompt?: string
  seed?: number
  num_inference_steps?: number
  guidance_scale?: number
  height?: number
  width?: number
}

export interface Task {
  changes: Change[]
  settings: Settings
  /** A notebook's cell, edited, in place of the call of the pipe. */
  cell?: string
  /** Which one it is: '05_scheduler#subtract'. On the speaker's machine the cells that it needs are run before it. */
  cellOf?: string
}

export interface Tensor {
  data: Float32Array
  dims: number[]
}

/** After each step, in their order: [4, h, w]; `picture` of pred_x0, or null where there was no time to decode it. */
export interface Step {
  i: number
  t: number
  latents: Tensor
  pred_x0: Tensor | null
  picture: ImageData | null
}

export interface Events {
  /** What Python prints and warns of, as it comes. Plain text. */
  onPrint?: (text: string) => void
  onStep?: (step: Step) => void
  /** What is going on, for the reader, in the words of the deck: 'Python comes: 3.1 of 6.3 MB', 'painting'. */
  onState?: (text: string) => void
}

export interface Result {
  /** What the pipe gave, or the cell's last expression where that is a picture, or a list of them: its first. */
  picture: ImageData | null
  /** What else the cell's last expression is, as Python shows it: plain text, or a picture (PNG or WebP, also a moving one, as data: URL). */
  value: { text: string } | { image: string } | null
  /** How often the UNet was asked. */
  steps: number
  seconds: number
  /** Of these in Python itself, the networks apart. NaN where nobody can tell. */
  pythonSeconds: number
}

/**
 * error    Python says what is wrong: a syntax error, an exception, an SdscopeError. The next run works.
 * stopped  by stop(), by the next run, or by the reader leaving.
 * lost     Python is gone (memory, a kernel that died). The next run starts another.
 * missing  there is none here: no WebAssembly, a file that did not come. It may be tried again.
 */
export type FailureKind = 'error' | 'stopped' | 'lost' | 'missing'

export class Failure extends Error {
  /** `message`: one line to read. `line`: from 1, in the text of that change (`region`) or of the cell (no region). */
  constructor(readonly kind: FailureKind, message: string, readonly region?: string, readonly line?: number) {
    super(message)
    this.name = 'Failure'
  }
}

export interface Run {
  /** Rejects with a Failure, and with nothing else. */
  finished: Promise<Result>
  /** It ends within 2 seconds, whatever the code does; `finished` rejects with 'stopped'. */
  stop: () => void
}

export interface Python {
  /** For the badge: 'Python in this page', or 'Python torch 2.13.0 on this machine'. */
  name: string
  isInPage: boolean
  /** Whether this Python can run a change of that region: false leaves the editor without "run". */
  has: (module: Module, region: string) => boolean
  /** Fetches and starts it, as the first run does too. Failure: missing. */
  load: (events?: Pick<Events, 'onState'>) => Promise<void>
  /** One run at a time: a new one stops the one before. */
  run: (task: Task, events?: Events) => Run
  close: () => void
}
