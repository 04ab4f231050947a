// torch on the speaker's machine: a Jupyter kernel behind the deck's own server. tools/live.py says what it answers.

import { shared } from '../scope'
import { say } from '../words'
import type { Events, Python, Result, Run, Step, Task, Tensor } from './types'
import { Failure } from './types'

type Picture = { width: number, height: number, rgba: string }
type Numbers = { dims: number[], data: string }

/** A line of what comes of a run. */
type Event =
  | { state: 'starting' | 'loading' | 'painting' | 'before' | 'cell', cells?: string[] }
  | { print: string, cut?: true }
  | { step: { i: number, t: number, latents: Numbers, pred_x0: Numbers | null, picture: Picture | null } }
  | { done: { picture: Picture | null, value: Result['value'], steps: number, seconds: number } | null }
  | { failed: Wrong }

/** `message` is what Python says of an error, `problem` why it is missing. */
type Wrong = { kind: Failure['kind'], message?: string, problem?: string, region?: string | null, line?: number }

/** A cookie of that server says so. Other hosts, which would answer with an error, are not asked. */
export const isOnMachine = () => document.cookie.includes(`kernel-${location.port || 80}=`)

/** null: where this deck comes from, there is none, or none any more. */
export async function openKernel(): Promise<Python | null> {
  if (!isOnMachine())
    return null
  try {
    let answer = await post('python', null)
    if (answer.status === 403) { // it was started again since this page was loaded, and has another key
      await fetch(shared, { cache: 'no-store' })
      answer = await post('python', null)
    }
    const { torch } = await answer.json()
    return answer.ok && torch ? python(say('machine.python', { version: torch })) : null
  }
  catch {
    return null
  }
}

function python(name: string): Python {
  let current: Run | null = null

  function run(task: Task | null, events: Events): Run {
    current?.stop()
    const leave = new AbortController()
    const finished = ask(task, events, leave.signal)
    finished.catch(() => {}) // it is for who waits for it
    return current = { finished, stop: () => leave.abort() } // the server stops what nobody reads any more
  }

  return {
    name,
    isInPage: false,
    has: () => true,
    load: async (events = {}) => void await run(null, events).finished,
    run: (task, events = {}) => run(task, events),
    close: () => current?.stop(),
  }
}

async function ask(task: Task | null, events: Events, signal: AbortSignal): Promise<Result> {
  try {
    const answer = await post('run', task, signal)
    if (answer.status === 403)
      throw new Failure('missing', say('machine.refused'))
    if (answer.status === 413)
      throw new Failure('error', say('machine.too-much'))
    for await (const event of lines(answer.body!)) {
      if ('state' in event)
        events.onState?.(say(`machine.${event.state}`, { cells: event.cells?.join(', ') }))
      else if ('print' in event)
        events.onPrint?.(event.cut ? `${event.print}\n${say('python.cut')}\n` : event.print)
      else if ('step' in event)
        events.onStep?.(step(event.step))
      else if ('failed' in event)
        throw failure(event.failed)
      else
        return result(event.done)
    }
  }
  catch (error) {
    if (signal.aborted)
      throw new Failure('stopped', 'stopped')
    if (error instanceof Failure)
      throw error
  }
  throw new Failure('missing', say('machine.silent'))
}

function failure({ kind, message = '', problem, region, line }: Wrong) {
  const says = { error: message, stopped: 'stopped', lost: say('machine.lost'), missing: say('machine.missing', { problem }) }
  return new Failure(kind, says[kind], region ?? undefined, line)
}

function post(name: string, body: unknown, signal?: AbortSignal) {
  const headers = { 'Content-Type': 'application/json' }
  return fetch(`${shared}live/${name}`, { method: 'POST', headers, body: JSON.stringify(body), signal })
}

async function* lines(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Event> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  for (let rest = ''; ;) {
    const { value, done } = await reader.read()
    if (done)
      return
    const parts = (rest + value).split('\n')
    rest = parts.pop()!
    for (const part of parts)
      yield JSON.parse(part)
  }
}

const step = ({ latents, pred_x0, picture, ...rest }: Extract<Event, { step: unknown }>['step']): Step =>
  ({ ...rest, latents: tensor(latents), pred_x0: pred_x0 && tensor(pred_x0), picture: picture && pixels(picture) })

const result = (done: Extract<Event, { done: unknown }>['done']): Result =>
  ({ picture: done?.picture ? pixels(done.picture) : null, value: done?.value ?? null, steps: done?.steps ?? 0, seconds: done?.seconds ?? 0, pythonSeconds: Number.NaN })

const tensor = ({ dims, data }: Numbers): Tensor => ({ dims, data: new Float32Array(bytes(data).buffer) })
const pixels = ({ width, height, rgba }: Picture) => new ImageData(new Uint8ClampedArray(bytes(rgba).buffer), width, height)
const bytes = (code: string) => Uint8Array.from(atob(code), letter => letter.charCodeAt(0))
