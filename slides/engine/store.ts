// The files of the model and the runtime: downloaded once, checked by hash, kept in the browser for the next visit.

import type { ModelInfo } from './types'
import { EngineError } from './types'

interface Wanted {
  url: string
  bytes: number
  sha256: string
}

const CACHE = 'sdscope'
const keyOf = (name: string) => `${self.origin}/${CACHE}/${name}` // by content: decks beside each other share their files

/** Cache Storage, or null where the browser has none: in some private windows, and without https. */
const openCache = () => (globalThis.caches ? caches.open(CACHE).catch(() => null) : null)

/**
 * model.json, always asked for anew; without network, or where that breaks off, the one of the last visit.
 * EngineError: no-network, broke-off, missing-file, corrupt-file.
 */
export async function readInfo(url: string): Promise<ModelInfo> {
  const cache = await openCache()
  const key = keyOf(`json?${url}`)
  const text = await readText(url).catch(async (error) => {
    const kept = ['no-network', 'broke-off'].includes(error.code) && await cache?.match(key)
    if (!kept)
      throw error
    return kept.text()
  })
  try {
    const info = JSON.parse(text)
    if (!info.files)
      throw corrupt(url) // another file, or what a host says in place of one
    await cache?.put(key, new Response(text)).catch(() => {})
    return info
  }
  catch {
    throw corrupt(url)
  }
}

async function readText(url: string) {
  const answer = await ask(url, 'no-cache')
  return answer.text().catch(() => {
    throw brokeOff(url)
  })
}

/**
 * All files, from the cache or the network, in the order of `wanted`. `deck`: its address. Afterwards the cache holds
 * these, of `later` (for readFile) what it had already, what other decks of this host last wanted, and no older ones.
 * EngineError: no-network, broke-off, missing-file, corrupt-file.
 */
export async function readFiles(deck: string, wanted: Wanted[], later: Wanted[], onProgress: (bytes: number, total: number) => void) {
  const cache = await openCache()
  const total = wanted.reduce((sum, file) => sum + file.bytes, 0)
  let done = 0
  const progress = (bytes: number) => onProgress(done += bytes, total)
  const hashes = JSON.stringify([...wanted, ...later].map(file => file.sha256))
  await cache?.put(keyOf(`wanted?${deck}`), new Response(hashes)).catch(() => {}) // before they come: another deck may be tidying up
  const files = await Promise.all(wanted.map(file => readFile(file, progress)))
  if (cache)
    await tidy(cache)
  return files
}

/** What no deck of this host wants goes. */
async function tidy(cache: Cache) {
  const urls = (await cache.keys()).map(({ url }) => new URL(url))
  const lists = urls.filter(({ href }) => href.startsWith(keyOf('wanted?')))
  const read = async (url: URL): Promise<string[]> => (await cache.match(url.href))?.json().catch(() => []) ?? []
  const wanted = new Set((await Promise.all(lists.map(read))).flat())
  const old = urls.filter(({ pathname, search }) => !search && !wanted.has(pathname.split('/').at(-1)!))
  await Promise.all(old.map(url => cache.delete(url.href)))
}

/** One file, from the cache or the network. EngineError as above. */
export async function readFile({ url, bytes, sha256 }: Wanted, progress: (bytes: number) => void = () => {}) {
  const cache = await openCache()
  const kept = await (await cache?.match(keyOf(sha256)))?.arrayBuffer()
  if (kept && await isRight(kept, bytes, sha256)) {
    progress(bytes)
    return kept
  }
  const answer = await ask(url, 'no-store')
  const data = await receive(answer, url, bytes, progress)
  if (!await isRight(data, bytes, sha256))
    throw corrupt(url)
  await cache?.put(keyOf(sha256), new Response(data)).catch(() => {}) // a full disk is no reason to stop
  return data
}

async function ask(url: string, cache: RequestCache) {
  const answer = await fetch(url, { cache }).catch(() => null)
  if (!answer)
    throw new EngineError('no-network', { file: nameOf(url) })
  if (!answer.ok)
    throw new EngineError('missing-file', { file: nameOf(url), status: answer.status })
  return answer
}

/** Not more than what was promised, with progress. */
async function receive(answer: Response, url: string, bytes: number, progress: (bytes: number) => void) {
  const data = new Uint8Array(bytes)
  const reader = answer.body!.getReader()
  let at = 0
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw brokeOff(url)
    })
    if (done)
      return data.buffer.slice(0, at)
    if (at + value.length > bytes)
      throw corrupt(url)
    data.set(value, at)
    at += value.length
    progress(value.length)
  }
}

/** Without https a browser computes no hashes: then the length must do. */
async function isRight(data: ArrayBuffer, bytes: number, sha256: string) {
  if (data.byteLength !== bytes || !globalThis.crypto?.subtle)
    return data.byteLength === bytes
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data))
  return Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('') === sha256
}

const nameOf = (url: string) => new URL(url).pathname.split('/').at(-1)!
const brokeOff = (url: string) => new EngineError('broke-off', { file: nameOf(url) })
const corrupt = (url: string) => new EngineError('corrupt-file', { file: nameOf(url) })
