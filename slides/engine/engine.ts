// Stable Diffusion in the reader's browser: text to picture in a worker, and every stage on the way.
//
//     const engine = openEngine({ onProgress: (bytes, total) => … })
//     await engine.load()
//     const run = engine.paint({ prompt: 'a ship at sunrise', seed: 42, images: 1 }, { onStep: step => … })
//     const result = await run.finished    // { image, latents, seconds }, or null after run.cancel()

import type { Calls, Events, Reply, Request } from './messages'
import type { Device, Loaded, Network, Result, Settings, Tensor, Tokens, Watch } from './types'
import { startWorker } from './start'
import { EngineError } from './types'
import workerUrl from './worker?worker&url'

export * from './types'

export interface Run {
  /** null: it was cancelled, by cancel() or by the next run. EngineError: settings-…, lost-…, no-memory, failed. */
  finished: Promise<Result | null>
  /** It stops before its next step. */
  cancel: () => void
}

export interface Engine {
  /** Fetches and opens the model. Nothing is fetched before. Once is enough; after an EngineError it may be tried again. */
  load: () => Promise<Loaded>
  /** One run at a time: a new one cancels the one before. It waits for load(), which it calls. */
  paint: (settings: Settings, watch?: Watch) => Run
  /** A text as the text encoder reads it, with the words it does not know. */
  tokenize: (text: string) => Promise<Tokens>
  /** A text -> its embeddings [77, D] */
  encode: (text: string) => Promise<Tensor>
  /** Latents [4, h, w] -> their picture, also while a run goes on */
  decode: (latents: Tensor) => Promise<ImageData>
  /** One of the networks by itself, also while a run goes on: for code that has a loop of its own. */
  network: (asked: Network) => Promise<Tensor>
  /** The worker ends, and its memory is free. */
  close: () => void
}

interface Open {
  /** Where model.json lies. Default: model/ beside the page. */
  model?: string
  /** Default: the GPU where there is one and it is faster. */
  device?: Device
  onProgress?: (bytes: number, total: number) => void
}

export function openEngine({ model = `${import.meta.env.BASE_URL}model/`, device, onProgress }: Open = {}): Engine {
  const base = new URL(model, document.baseURI).href
  let worker: ReturnType<typeof openWorker> | null = null
  let loaded: Promise<Loaded> | null = null
  let current: Run | null = null

  function close() {
    current?.cancel()
    worker?.close()
    worker = loaded = null
  }

  function load() {
    return loaded ??= (async () => {
      if (!hasSimd())
        throw new EngineError('no-webassembly')
      worker = openWorker()
      return await worker.ask('load', { base, device }, { onProgress }).finished
    })().catch((error) => {
      close()
      throw error
    })
  }

  async function ask<Name extends keyof Calls>(call: Name, argument: Parameters<Calls[Name]>[0]) {
    await load()
    return worker!.ask(call, argument).finished.catch(failed)
  }

  /** After a lack of memory the runtime does not go on: the next load() opens another. */
  function failed(error: EngineError): never {
    if (error.code === 'no-memory')
      close()
    throw error
  }

  function paint(settings: Settings, watch: Watch = {}): Run {
    current?.cancel()
    let stopped = false
    let stop = () => {}
    const finished = load().then(() => {
      if (stopped)
        return null
      const asked = worker!.ask('paint', settings, watch)
      stop = () => worker?.cancel(asked.id)
      return asked.finished
    }).catch(error => stopped ? null : failed(error))
    return current = { finished, cancel: () => (stopped = true, stop()) }
  }

  return { load, paint, close, tokenize: text => ask('tokenize', text), encode: text => ask('encode', text), decode: latents => ask('decode', latents), network: asked => ask('network', asked) }
}

/** ask(…) sends a call; its events and its answer come back by its number. */
function openWorker() {
  const waiting = new Map<number, { resolve: (value: any) => void, reject: (error: EngineError) => void, watch: Partial<Events> }>()
  let calls = 0

  const { worker, stop } = start()

  function fail(error: EngineError) {
    waiting.forEach(({ reject }) => reject(error))
    waiting.clear()
  }

  const send = (request: Request) => worker.postMessage(request)
  worker.addEventListener('error', () => fail(noWorker()))
  worker.addEventListener('message', ({ data }: MessageEvent<Reply>) => {
    const call = waiting.get(data.id)
    if (!call)
      return
    if ('event' in data)
      return (call.watch[data.event] as any)?.(...data.values)
    waiting.delete(data.id)
    if ('error' in data)
      call.reject(new EngineError(data.error.code, data.error.values))
    else
      call.resolve(data.done)
  })

  return {
    ask<Name extends keyof Calls>(call: Name, argument: Parameters<Calls[Name]>[0], watch: Partial<Events> = {}) {
      const id = calls++
      const finished = new Promise<ReturnType<Calls[Name]>>((resolve, reject) => waiting.set(id, { resolve, reject, watch }))
      send({ id, call, argument })
      return { id, finished }
    },
    cancel: (id: number) => send({ cancel: id }),
    close() {
      stop()
      fail(new EngineError('closed'))
    },
  }
}

function start() {
  try {
    return startWorker(workerUrl)
  }
  catch {
    throw noWorker()
  }
}

const noWorker = () => new EngineError('no-worker')

/** A function that uses a vector of 128 bits: does the browser take it for a program? */
function hasSimd() {
  const program = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11]
  return typeof WebAssembly === 'object' && WebAssembly.validate(new Uint8Array(program))
}
