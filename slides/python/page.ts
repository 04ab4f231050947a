// Python in this page: pyodide in a worker, the real pipeline.py and scheduler.py on a small torch, the deck's own engine.

import type { Engine, Tensor, Tokens } from '../engine/engine'
import { sharesMemory, startWorker } from '../engine/start'
import { USUAL } from '../engine/types'
import { shared } from '../scope'
import { say, told } from '../words'
import type { Asked, FromWorker, ToWorker } from './messages'
import type { Events, Python, Result, Run, Step, Task } from './types'
import { Failure } from './types'
import workerUrl from './worker?worker&url'

const REGIONS: Record<string, string[]> = {
  pipeline: ['call', 'encode_prompt', 'get_latents', 'denoise', 'decode'],
  scheduler: ['alphas', 'set_timesteps', 'step', 'prediction', 'add_noise'],
}
const PATIENCE = 1000 // ms that a run has to stop by itself; then its worker ends, and another is made
const DEFAULTS = { negative_prompt: '', seed: 42, num_inference_steps: USUAL.steps, guidance_scale: USUAL.guidance, height: null, width: null }

/** What is here in place of others, and what is as in the package: {run: text, torch: text, pipeline: text, …} */
function readSources() {
  const here = import.meta.glob('./*.py', { query: '?raw', import: 'default', eager: true })
  const real = import.meta.glob([
    '../../src/sdscope/{__init__,version,errors,inputs,steps,scheduler,pipeline}.py',
    '../../src/sdscope/loading/{config,settings,tasks}.py',
  ], { query: '?raw', import: 'default', eager: true })
  const named = (files: Record<string, unknown>, folder: string) =>
    Object.entries(files).map(([path, text]) => [path.slice(folder.length, -3).replace('/', '.'), text as string])
  return Object.fromEntries([...named(here, './'), ...named(real, '../../src/sdscope/')])
}

/** `useEngine`: the page's one engine, loaded. */
export function openPython(useEngine = async (): Promise<Engine> => (await import('../lab/engine')).useEngine()): Python {
  let worker: ReturnType<typeof startPython> | null = null
  let current: Run | null = null

  async function load({ onState = () => {} }: Pick<Events, 'onState'> = {}) {
    worker ??= startPython()
    const mine = worker
    mine.onBytes = bytes => onState(say('python.comes', { done: (bytes / 1e6).toFixed(1), total: (__PYODIDE__.bytes / 1e6).toFixed(1) }))
    await mine.loaded.catch((failure) => {
      end(mine)
      throw failure
    })
    return mine
  }

  function end(which: typeof worker) {
    which?.close()
    if (worker === which)
      worker = null
  }

  function run(task: Task, events: Events = {}): Run {
    const before = current
    before?.stop()
    let stopped = false
    let stop = () => {}
    const stopping = new Promise<never>((_, reject) => stop = () => (stopped = true, reject(new Failure('stopped', 'stopped'))))
    stopping.catch(() => {})

    async function go(): Promise<Result> {
      await before?.finished.catch(() => {})
      events.onState?.(say('python.and-model-come'))
      const [python, engine] = await Promise.race([stopping, Promise.all([load(events), useEngine().catch(missing)])])
      if (stopped)
        throw new Failure('stopped', 'stopped')
      events.onState?.(say('python.running'))
      const { info } = await engine.load()
      const running = python.run(asked(task, info), engine, events)
      stop = () => {
        stopped = true
        running.stop()
        setTimeout(() => {
          if (running.ended)
            return
          end(python)
          load().catch(() => {}) // for the next run
        }, PATIENCE)
      }
      return running.finished.catch((failure) => {
        if (failure.kind === 'lost')
          end(python)
        throw stopped ? new Failure('stopped', 'stopped') : failure
      })
    }

    return current = { finished: go(), stop: () => stop() }
  }

  return {
    name: say('python.in-page'),
    isInPage: true,
    has: (module, region) => REGIONS[module]?.includes(region) ?? false,
    load: async events => void await load(events),
    run,
    close: () => (current?.stop(), end(worker)),
  }
}

function asked({ changes, settings, cell }: Task, info: Asked['info']): Asked {
  const names = { ...DEFAULTS, ...settings }
  // as the notebooks call them
  const others = { steps: names.num_inference_steps, guidance: names.guidance_scale, size: names.height, model: 'postcard' }
  return { changes, cell: cell ?? null, names: { ...others, ...names }, info }
}

function missing(error: unknown): never {
  throw new Failure('missing', told(error))
}

/** The worker, and what it is doing: loading, or running one task. */
function startPython() {
  if (typeof WebAssembly !== 'object' || typeof Worker !== 'function')
    throw new Failure('missing', say('python.no-webassembly'))
  const { worker, stop } = startWorker(workerUrl)
  const interrupts = sharesMemory() ? new SharedArrayBuffer(1) : null
  const send = (message: ToWorker) => worker.postMessage(message)
  let hear: (message: FromWorker) => void
  let fail: (failure: Failure) => void

  /** A promise that the worker's messages keep, or its end breaks. */
  function until<Kept>(listen: (message: FromWorker, resolve: (kept: Kept) => void) => void): Promise<Kept> {
    return new Promise((resolve, reject) => {
      fail = reject
      hear = (message) => {
        try {
          if ('lost' in message)
            throw new Failure('lost', say('python.broke-down', { why: message.lost }))
          listen(message, resolve)
        }
        catch (failure) {
          reject(failure)
        }
      }
    })
  }

  const base = shared + __PYODIDE__.folder
  let bytes = 0
  const it = {
    onBytes: (_bytes: number) => {},
    loaded: until<void>((message, resolve) => {
      if ('bytes' in message)
        it.onBytes(bytes += message.bytes)
      else if ('loaded' in message)
        resolve()
    }).catch((failure) => {
      console.warn('Python did not start:', failure.message)
      throw new Failure('missing', failure.kind === 'lost' ? say('python.not-fetched') : failure.message)
    }),

    run(asked: Asked, engine: Engine, events: Events) {
      const steps: Promise<void>[] = []
      let calls = 0
      let [decoding, failed] = [false, false]
      let decoded = 0 // ms
      const start = performance.now()
      if (interrupts)
        new Uint8Array(interrupts)[0] = 0

      async function answer(id: number, found: Promise<Tensor | Tokens>) {
        try {
          send({ answer: id, value: await found })
        }
        catch (error) {
          send({ answer: id, error: told(error) })
        }
      }

      /** The picture of what a step aims at, where there is time: the engine does one thing after the other, and a third is for pictures. */
      async function pictured({ pred_x0 }: Omit<Step, 'picture'>) {
        const now = performance.now()
        if (decoding || !pred_x0 || decoded > (now - start) / 3)
          return null
        decoding = true
        return engine.decode(pred_x0).catch(() => null).finally(() => {
          decoding = false
          decoded += performance.now() - now
        })
      }

      const ended = until<Result>((message, resolve) => {
        if ('ask' in message) {
          const { ask: id, network, text } = message
          calls += Number(network?.name === 'unet')
          answer(id, network ? engine.network(network) : engine.tokenize(text!))
        }
        else if ('print' in message) {
          events.onPrint?.(message.print)
        }
        else if ('cut' in message) {
          events.onPrint?.(`${say('python.cut')}\n`)
        }
        else if ('step' in message && events.onStep) {
          const before = steps.at(-1)
          const picture = pictured(message.step)
          steps.push((async () => {
            await before
            const step = { ...message.step, picture: await picture }
            if (!failed)
              events.onStep!(step)
          })())
        }
        else if ('done' in message) {
          resolve(result(message, calls))
        }
      })
      send({ run: asked })
      const finished = ended.then(async (result) => {
        await steps.at(-1)
        return result
      })
      const run = {
        finished,
        ended: false,
        stop() {
          send({ stop: true }) // heard where the code waits for a network, and it nearly always does
          setTimeout(() => {
            if (interrupts && !run.ended)
              new Uint8Array(interrupts)[0] = 2 // what Ctrl+C is: for code that waits for nothing
          }, 200)
        },
      }
      ended.catch(() => failed = true).finally(() => run.ended = true)
      return run
    },

    close() {
      stop()
      fail(new Failure('lost', say('python.ended')))
    },
  }
  worker.addEventListener('error', () => fail(new Failure('missing', say('python.not-started'))))
  worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => hear(data))
  send({ load: { base, sources: readSources(), interrupts } })
  return it
}

function result({ done, seconds, waited }: Extract<FromWorker, { done: any }>, steps: number): Result {
  if ('wrong' in done)
    throw new Failure('error', done.wrong, done.region ?? undefined, done.line ?? undefined)
  const times = { steps, seconds, pythonSeconds: seconds - waited }
  if ('text' in done)
    return { picture: null, value: done.text ? { text: done.text } : null, ...times }
  return { picture: new ImageData(new Uint8ClampedArray(done.pixels), done.width, done.height), value: null, ...times }
}
