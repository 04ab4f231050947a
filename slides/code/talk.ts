// The code that readers and speaker change on the slides: what is open, what it says now, and what it paints.
// All windows of a talk see the same; a run happens once, where somebody pressed "run".
import { reactive, ref, shallowReactive } from 'vue'
import type { Result, Run, Settings } from '../python/types'
import { Failure } from '../python/types'
import { isOnMachine } from '../python/kernel'
import { shared } from '../lab/windows'
import { say } from '../words'

declare const __REGIONS__: Record<string, [number, number]>

/** A block of code by where it was cut from, such as 'pipeline.py#denoise'. */
export type Block = string

/** What one code paints: the picture in mind after each step, and the times of the steps. */
export interface Painting {
  times: number[]
  pictures: ImageData[]
  result: ImageData | null
}

export interface Trial {
  block: Block
  code: string
  settings: Settings
  changed: Painting
  original: Painting | null // null: the recorded one
  going: boolean
  says: string
  printed: string
  figure: string | null // what the code drew, as an address
  failure: { message: string, line?: number } | null
}

/** What is painted until somebody asks for something else. A notebook recorded it: scrubber_decoded.webp */
export const example: Settings = { prompt: 'painting depicting the sea, sunrise, ship', seed: 42 }
const MOST_PRINTED = 4000 // letters

export const talk = shallowReactive({
  open: null as { block: Block, no: number, clicks: number } | null, // no, clicks: of the slide under it
  texts: {} as Record<Block, string>, // of changed blocks
  linked: [] as Block[], // whose texts came with a link: somebody else's code
  settings: example,
  trials: {} as Record<Block, Trial>,
  at: 0, // the step that is looked at
  python: '', // which one is running
})

/** The blocks of each slide, first to last. Those of pipeline.py and scheduler.py run in the page, the others on the machine alone. */
export const blocks = reactive<Record<number, Block[]>>({})
export const partsOf = (block: Block) => block.replace('.py', '').split('#') as [module: string, region: string]
export const isCell = (block: Block) => !block.includes('.py#')
/** Only these come by links: somebody else's code is run in the page alone. */
export const isInPage = (block: Block) => /^(?:pipeline|scheduler)\.py#(?!from_pretrained)/.test(block) && block in __REGIONS__
const ELSEWHERE = /^(?:pipeline|unet|vae|postcard\/training\/diffusion)\.py#/
export const isChangeable = (block: Block) => isInPage(block) || (isOnMachine() && (isCell(block) || (ELSEWHERE.test(block) && block in __REGIONS__)))

/** A slide has this block, which can be changed. */
export function offer(no: number, block: Block) {
  if (!blocks[no]?.includes(block))
    blocks[no] = [...(blocks[no] ?? []), block]
}

type News = { set: Partial<typeof talk> } | { trial: Block, set: Partial<Trial> } | { trial: Block, step: { i: number, t: number, picture: ImageData | null }, of: 'changed' | 'original' }
  | { trial: Block, printed: string } | { stop: true }

function apply(news: News) {
  if ('stop' in news) {
    stopped = turn
    return current?.stop()
  }
  if (!('trial' in news))
    return Object.assign(talk, news.set)
  const trial = { ...talk.trials[news.trial] }
  if ('set' in news) {
    Object.assign(trial, news.set)
  }
  else if ('printed' in news) {
    trial.printed = (trial.printed + news.printed).slice(-MOST_PRINTED)
  }
  else {
    const { times, pictures, result } = trial[news.of]!
    const picture = news.step.picture ?? pictures.at(-1)
    trial[news.of] = { times: [...times, news.step.t], pictures: picture ? [...pictures, picture] : pictures, result }
    if (news.of === 'changed')
      talk.at = news.step.i
  }
  talk.trials = { ...talk.trials, [news.trial]: trial }
}

const tell = shared('code', apply)
export const set = (change: Partial<typeof talk>) => tell({ set: change })

/** What is to be said in this window, such as of a link that is damaged. */
export const notice = ref('')

/** How often somebody asked for the editor in this window: it gets the focus here, and in no other. */
export const asked = ref(0)

/** Opens a block of slide `no`; without a name the one that was changed, or the first. */
export function change(no: number, clicks: number, block?: Block) {
  const here = blocks[no] ?? []
  block ??= here.find(block => block === talk.open?.block) ?? here.find(block => block in talk.texts) ?? here[0]
  if (!block)
    return
  notice.value = ''
  asked.value++
  set({ open: { block, no, clicks } })
}

/** Another text in the editor of a block; `null`: as it was. */
export function write(block: Block, text: string | null) {
  notice.value = ''
  const { [block]: _, ...others } = talk.texts
  set({ texts: text === null ? others : { ...others, [block]: text } })
}

/** What a block says is known again: its source, or an idea. */
export function replace(block: Block, text: string | null) {
  set({ linked: talk.linked.filter(other => other !== block) })
  write(block, text)
}

// ------------------------------------------------------------------ running
const empty = (): Painting => ({ times: [], pictures: [], result: null })
const kept = new Map<string, Painting>() // what the original paints, by its settings
let current: Run | null = null
let turn = 0
let stopped = 0

/** Runs a block's text; whatever ran before is stopped. */
export async function run(block: Block, code: string) {
  notice.value = ''
  stop()
  const mine = ++turn
  const settings = { ...talk.settings }
  const [module, region] = partsOf(block)
  const asked = JSON.stringify(settings)
  const original = isCell(block) || asked === JSON.stringify(example) ? null : kept.get(asked) ?? empty()
  const trial: Trial = { block, code, settings, changed: empty(), original, going: true, says: say('code.python-comes'), printed: '', figure: null, failure: null }
  set({ trials: { ...talk.trials, [block]: trial }, at: 0 })
  const heard = () => mine === turn && talk.trials[block].going // not what still comes of a run that was stopped
  const show = (says: string) => heard() && tell({ trial: block, set: { says } })

  async function paint(of: 'changed' | 'original', foreign = talk.linked.includes(block)): Promise<Result> {
    const { pythonFor } = await import('../python')
    const python = await pythonFor({ foreign })
    if (stopped === mine)
      throw new Failure('stopped', 'stopped')
    if (!python.has(module, region))
      throw new Failure('missing', say('code.needs-torch', { block }))
    set({ python: python.name })
    const task = isCell(block) ? { changes: [], cell: code, cellOf: block } : { changes: of === 'changed' ? [{ module, region, code }] : [] }
    current = python.run({ ...task, settings }, {
      onState: show,
      onPrint: printed => heard() && of === 'changed' && tell({ trial: block, printed }),
      onStep: ({ i, t, picture }) => {
        if (!heard())
          return
        tell({ trial: block, step: { i, t, picture }, of })
        show(say(of === 'changed' ? 'code.step-of-changed' : 'code.step-of-original', { step: i + 1 }))
      },
    })
    try {
      const result = await current.finished
      tell({ trial: block, set: { [of]: { ...talk.trials[block][of]!, result: result.picture } } })
      return result
    }
    catch (error) {
      const { kind, message } = error as Failure
      if (!heard() || python.isInPage || !['lost', 'missing'].includes(kind))
        throw error
      tell({ trial: block, printed: `${say('code.page-goes-on', { message })}\n` })
      tell({ trial: block, set: { [of]: empty() } })
      return paint(of, true)
    }
  }

  try {
    const { picture, value, seconds, pythonSeconds } = await paint('changed')
    if (value)
      tell('text' in value ? { trial: block, printed: value.text } : { trial: block, set: { figure: value.image } })
    if (original && !kept.has(asked)) {
      await paint('original')
      kept.set(asked, talk.trials[block].original!)
    }
    const painted = Number.isNaN(pythonSeconds) ? 'code.painted' : 'code.painted-share'
    const times = { seconds: seconds.toFixed(1), python: pythonSeconds.toFixed(1) }
    show(picture ? say(painted, times) : value || isCell(block) ? say('code.ran') : say('code.ran-without-picture'))
    tell({ trial: block, set: { going: false } })
  }
  catch (error) {
    const { kind, message, region: where, line } = error as Failure
    const isHere = where === (isCell(block) ? undefined : region)
    const failure = kind === 'stopped' ? null : { message, line: isHere ? line : undefined }
    if (mine === turn) // else the next run is on its way
      tell({ trial: block, set: { going: false, says: kind === 'stopped' ? say('code.stopped') : '', failure } })
  }
}

/** Stops the run, in whichever window it goes on. */
export const stop = () => tell({ stop: true })
