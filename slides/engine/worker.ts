// Everything heavy, away from the page's own thread.

import type { Calls, Events, Reply, Request } from './messages'
import type { Model } from './model'
import { openModel } from './model'
import { lost, paint } from './paint'
import { EngineError } from './types'

let model: Promise<Model>
const cancelled = new Set<number>()

const reply = (message: Reply) => self.postMessage(message)

/** Functions that tell the page what happens while call `id` runs. */
function events(id: number): Events {
  const tell = (event: keyof Events) => (...values: any[]) => reply({ id, event, values })
  return { onProgress: tell('onProgress'), onTokens: tell('onTokens'), onEmbeddings: tell('onEmbeddings'), onStep: tell('onStep') }
}

/** The runtime takes one call at a time: whoever comes meanwhile waits. So a run can be looked at while it goes on. */
function oneAtATime(model: Model): Model {
  let last: Promise<unknown> = Promise.resolve()
  const queued = <A extends any[], R>(call: (...args: A) => Promise<R>) => (...args: A): Promise<R> => {
    const mine = last.then(() => call(...args))
    last = mine.catch(() => {})
    return mine
  }
  return { ...model, encode: queued(model.encode), unet: queued(model.unet), decode: queued(model.decode), posterior: queued(model.posterior), network: queued(model.network) }
}

type Handlers = { [Name in keyof Calls]: (argument: Parameters<Calls[Name]>[0], id: number) => Promise<ReturnType<Calls[Name]>> }

const handlers: Handlers = {
  async load(options, id) {
    model = openModel({ ...options, onProgress: events(id).onProgress }).then(oneAtATime)
    const { info, device, threads } = await model
    return { info, device, threads }
  },
  paint: async (settings, id) => paint(await model, settings, events(id), () => cancelled.has(id)),
  tokenize: async text => (await model).tokenize(text),
  encode: async text => (await model).encode((await model).tokenize(text).ids),
  async decode(latents) {
    if (lost(latents.data))
      throw new EngineError('no-picture')
    return (await model).decode(latents)
  },
  network: async asked => (await model).network(asked),
}

/** What is thrown, as a code and what belongs to it. */
function explained(error: unknown): Pick<EngineError, 'code' | 'values'> {
  if (error instanceof EngineError)
    return { code: error.code, values: error.values }
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof RangeError || /out of memory|OOM|bad_alloc|allocation|too large/i.test(message))
    return { code: 'no-memory', values: {} }
  return { code: 'failed', values: { message: message.split(' : ').at(-1)! } }
}

// not self.onmessage: the runtime's own threads would take it for theirs
self.addEventListener('message', async ({ data }: MessageEvent<Request>) => {
  if ('cancel' in data)
    return cancelled.add(data.cancel)
  const { id, call, argument } = data
  try {
    reply({ id, done: await handlers[call](argument as never, id) })
  }
  catch (error) {
    reply({ id, error: explained(error) })
  }
})
