// The run that the Lab shows: its settings, its steps so far, and the other windows of the talk, which see the same.
import { shallowReactive } from 'vue'
import type { Beginning, Engine, Result, Run, SchedulerName, Step, Tensor, Tokens } from '../engine/engine'
import { stepsTaken, USUAL } from '../engine/types'
import { told } from '../words'
import { useEngine } from './engine'
import { shared } from './windows'

export interface LabSettings {
  prompt: string
  negativePrompt: string
  seed: number
  steps: number
  guidance: number
  scheduler: SchedulerName
  from?: Beginning
}

export const defaults: LabSettings = { prompt: 'painting depicting the sea, sunrise, ship', negativePrompt: '', seed: 42, ...USUAL, scheduler: 'ddim' }

export const run = shallowReactive({
  settings: null as LabSettings | null, // null: nothing was run yet, the recorded run is shown
  going: false,
  tokens: null as Tokens | null,
  embeddings: null as Tensor | null,
  steps: [] as Step[],
  result: null as Result | null,
  secondsLeft: 0,
  at: 0, // the step that is looked at; `steps.length`: the picture
  message: '', // why it failed, in one sentence
})

let current: Run | null = null

/** Paints; whatever was painted before is cancelled. */
export async function start(settings: LabSettings) {
  tell({ begin: settings })
  let begun = 0
  try {
    const engine = await useEngine()
    const mine = current = engine.paint({ ...settings, attention: true, features: true, images: 0.25 }, {
      onTokens: tokens => tell({ tokens }),
      onEmbeddings: embeddings => tell({ embeddings }),
      onStep: (step) => {
        begun ||= performance.now()
        const each = (performance.now() - begun) / 1000 / Math.max(step.i, 1)
        tell({ step, secondsLeft: step.i ? each * (stepsTaken(settings) - step.i - 1) : 0 })
      },
    })
    const result = await mine.finished
    if (result) {
      tell({ result })
      await develop(engine, mine)
    }
  }
  catch (error) {
    tell({ message: told(error) })
  }
}

/** Afterwards, the pictures for which there was no time: first of all where somebody looks. */
async function develop(engine: Engine, painted: Run) {
  while (painted === current) {
    const [step] = run.steps.filter(step => !step.image).sort((a, b) => Math.abs(a.i - run.at) - Math.abs(b.i - run.at))
    if (!step)
      return
    const image = await engine.decode(step.x0)
    if (painted === current)
      tell({ image, of: step.i })
  }
}

export function cancel() {
  if (run.going)
    tell({ cancelled: true })
  current?.cancel()
  current = null
}

type News = { begin: LabSettings } | { tokens: Tokens } | { embeddings: Tensor } | { step: Step, secondsLeft: number } | { image: ImageData, of: number }
  | { result: Result } | { message: string } | { cancelled: true }

function apply(news: News) {
  if ('begin' in news)
    Object.assign(run, { settings: news.begin, going: true, tokens: null, embeddings: null, steps: [], result: null, secondsLeft: 0, at: 0, message: '' })
  else if ('step' in news)
    Object.assign(run, { steps: [...run.steps, news.step], secondsLeft: news.secondsLeft, at: run.at === run.steps.length - 1 || !run.steps.length ? run.steps.length : run.at })
  else if ('image' in news)
    run.steps = run.steps.map(step => (step.i === news.of ? { ...step, image: news.image } : step))
  else if ('result' in news)
    Object.assign(run, { result: news.result, going: false, secondsLeft: 0, at: run.steps.length })
  else if ('message' in news || 'cancelled' in news)
    Object.assign(run, { ...('message' in news && news), going: false, secondsLeft: 0 })
  else
    Object.assign(run, news)
}

const tell = shared('lab', apply)
