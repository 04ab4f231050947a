// Python, in a worker of its own: it can be ended whatever it does, and it reaches nothing of the page.

import type { PyodideAPI } from 'pyodide'
import type { Network, Tensor, Tokens } from '../engine/types'
import type { Asked, FromWorker, Outcome, ToWorker } from './messages'

const MOST_MEMORY = 512 * 2 ** 20
const MOST_PRINTED = 10_000 // characters of one run
const MOST_STEPS = 2_000
// What a worker can reach beyond itself. Foreign code is run here: it goes as soon as Python is there.
const OUTSIDE = ['fetch', 'XMLHttpRequest', 'WebSocket', 'WebTransport', 'EventSource', 'BroadcastChannel', 'MessageChannel', 'RTCPeerConnection',
  'caches', 'indexedDB', 'navigator', 'Worker', 'SharedWorker', 'importScripts', 'Notification', 'showOpenFilePicker']

const lost = (error: any) => tell({ lost: String(error?.message ?? error).split('\n')[0] })
const tell = (message: FromWorker) => self.postMessage(message)
let pyodide: PyodideAPI
let glue: any
let waits = false
let sources: any

const waiting = new Map<number, { resolve: (value: any) => void, reject: (error: Error) => void }>()
let questions = 0
let stopping = false
let waited = 0 // seconds, for the networks
let [printed, steps] = [0, 0]

async function load({ base, sources: texts, interrupts }: Extract<ToWorker, { load: any }>['load']) {
  limitMemory()
  countBytes()
  const { loadPyodide } = await import(/* @vite-ignore */ `${base}pyodide.mjs`) as typeof import('pyodide')
  pyodide = await loadPyodide({
    indexURL: base,
    lockFileContents: { info: __PYODIDE__.info, packages: {} } as any, // it comes with no packages
    jsglobals: { Object, setTimeout: setTimeout.bind(self), clearTimeout: clearTimeout.bind(self) },
    enableRunUntilComplete: false,
    stdin: () => null,
  })
  ;(pyodide as any)._api.on_fatal = lost // in a timer of its own nobody would catch it
  for (const stream of [pyodide.setStdout, pyodide.setStderr])
    stream({ batched: print })
  for (const name of ['run', 'waiting', 'glue'])
    pyodide.FS.writeFile(`/lib/${name}.py`, texts[name])
  pyodide.runPython('import sys; sys.path.append("/lib")')
  glue = pyodide.pyimport('glue')
  waits = !('Suspending' in WebAssembly) || await glue.waits.callPromising()
  sources = pyodide.toPy(texts)
  if (interrupts)
    pyodide.setInterruptBuffer(new Uint8Array(interrupts))
  leaveOutside()
}

/** 4 GB, which a page may have, are more than most machines have to spare. */
function limitMemory() {
  const { grow } = WebAssembly.Memory.prototype
  WebAssembly.Memory.prototype.grow = function (pages) {
    if (this.buffer.byteLength + 65536 * Number(pages) > MOST_MEMORY)
      throw new RangeError('This is all the memory that there is for Python.')
    return grow.call(this, pages)
  }
}

/** How much has come. What does not come is told here: pyodide would wait for it for ever. */
function countBytes() {
  const { fetch } = self
  self.fetch = async (...asked) => {
    const answer = await fetch(...asked).catch(() => null)
    if (!answer?.ok) {
      tell({ lost: 'a file did not come' })
      throw new Error('a file did not come')
    }
    const count = new TransformStream<Uint8Array, Uint8Array>({
      transform(chunk, stream) {
        tell({ bytes: chunk.length })
        stream.enqueue(chunk)
      },
    })
    return new Response(answer.body!.pipeThrough(count), answer)
  }
}

function leaveOutside() {
  for (const name of OUTSIDE) {
    for (let place: any = self; place; place = Object.getPrototypeOf(place))
      delete place[name]
  }
}

function print(text: string) {
  if (printed > MOST_PRINTED)
    return
  printed += text.length + 1
  tell(printed > MOST_PRINTED ? { cut: true } : { print: `${text}\n` })
}

/** The page answers by the number. */
function ask<Answer>(question: { network?: Network, text?: string }) {
  if (stopping)
    return Promise.reject(new Error('stopped'))
  const id = questions++
  const start = performance.now()
  tell({ ask: id, ...question })
  return new Promise<Answer>((resolve, reject) => waiting.set(id, { resolve, reject }))
    .finally(() => waited += (performance.now() - start) / 1000)
}

function seen(i: number, t: number, latents: Tensor, pred_x0: Tensor | null) {
  if (steps++ < MOST_STEPS)
    tell({ step: { i, t, latents, pred_x0 } })
}

async function run(asked: Asked) {
  [stopping, waited, printed, steps] = [false, 0, 0, 0]
  const start = performance.now()
  const given = [
    JSON.stringify({ ...asked, waits }),
    sources,
    (name: Network['name'], inputs: Network['inputs'], output: string) => ask<Tensor>({ network: { name, inputs, output } }),
    (text: string) => ask<Tokens>({ text }),
    seen,
  ]
  const done: Outcome = await (waits ? glue.perform(...given) : glue.perform_at_once.callPromising(...given))
  tell({ done, seconds: (performance.now() - start) / 1000, waited })
}

self.addEventListener('message', async ({ data }: MessageEvent<ToWorker>) => {
  try {
    if ('load' in data) {
      await load(data.load)
      tell({ loaded: true })
    }
    else if ('run' in data) {
      await run(data.run)
    }
    else if ('answer' in data) {
      const { resolve, reject } = waiting.get(data.answer) ?? {}
      waiting.delete(data.answer)
      if (data.error === undefined)
        resolve?.(data.value)
      else
        reject?.(new Error(data.error))
    }
    else {
      stopping = true
      waiting.forEach(({ reject }) => reject(new Error('stopped')))
      waiting.clear()
    }
  }
  catch (error: any) {
    lost(error)
  }
})
