import { createHash } from 'node:crypto'
import { beforeEach, expect, test, vi } from 'vitest'
import { readFile, readFiles, readInfo } from '../../slides/engine/store'

const HOST = 'https://host.example'
const bytesOf = (text: string) => new TextEncoder().encode(text)
const wanted = (text: string) => ({ url: `${HOST}/model/${text}.onnx`, bytes: bytesOf(text).length, sha256: createHash('sha256').update(text).digest('hex') })
const read = async (texts: string[], onProgress = vi.fn(), deck = 'en', later: string[] = []) =>
  (await readFiles(`${HOST}/${deck}/model/`, texts.map(wanted), later.map(wanted), onProgress)).map(data => new TextDecoder().decode(data))

let files: Record<string, string>
let kept: Map<string, Response>
const hashes = () => [...kept.keys()].filter(key => !key.includes('?')).map(key => key.split('/').at(-1))
const fetched = vi.fn(async (url: string) => {
  if (!(url in files))
    return new Response('', { status: 404 })
  return new Response(files[url])
})

beforeEach(() => {
  files = Object.fromEntries(['one', 'three', 'newer'].map(text => [wanted(text).url, text]))
  kept = new Map()
  fetched.mockClear()
  vi.unstubAllGlobals()
  vi.stubGlobal('self', { origin: HOST })
  vi.stubGlobal('fetch', fetched)
  vi.stubGlobal('caches', {
    open: async () => ({
      match: async (key: string) => kept.get(key)?.clone(),
      put: async (key: string, response: Response) => void kept.set(key, response),
      keys: async () => [...kept.keys()].map(url => ({ url })),
      delete: async (key: string) => kept.delete(key),
    }),
  })
})

test('a first visit fetches, a second one does not', async () => {
  const progress = vi.fn()
  expect(await read(['one', 'three'], progress)).toEqual(['one', 'three'])
  expect(progress).toHaveBeenLastCalledWith(8, 8)
  expect(await read(['one', 'three'], progress)).toEqual(['one', 'three'])
  expect(progress).toHaveBeenLastCalledWith(8, 8)
  expect(fetched).toHaveBeenCalledTimes(2)
})

test('a new version takes the place of the old one', async () => {
  await read(['one', 'three'])
  await read(['one', 'newer'])
  expect(hashes()).toEqual([wanted('one').sha256, wanted('newer').sha256])
})

test('decks of one host share what is the same and leave each other the rest', async () => {
  await read(['one', 'three'], undefined, 'en')
  await read(['one', 'newer'], undefined, 'ja')
  expect(fetched).toHaveBeenCalledTimes(3)
  await read(['one', 'three'], undefined, 'en')
  expect(fetched).toHaveBeenCalledTimes(3)
  await read(['one', 'newer'], undefined, 'en') // now nobody wants three
  expect(hashes()).toEqual([wanted('one').sha256, wanted('newer').sha256])
  expect(fetched).toHaveBeenCalledTimes(3)
})

test('what is wanted later comes when it is asked for, and stays', async () => {
  await read(['one'], undefined, 'en', ['three'])
  expect(hashes()).toEqual([wanted('one').sha256])
  for (const _ of [1, 2]) {
    expect(new TextDecoder().decode(await readFile(wanted('three')))).toBe('three')
    await read(['one'], undefined, 'en', ['three'])
  }
  expect(fetched).toHaveBeenCalledTimes(2)
  await read(['one'])
  expect(hashes()).toEqual([wanted('one').sha256])
})

test('a damaged list of what a deck wants is no list', async () => {
  await read(['one'], undefined, 'ja')
  kept.set([...kept.keys()].find(key => key.includes('wanted?'))!, new Response('{'))
  expect(await read(['three'])).toEqual(['three'])
})

test('what was kept and is damaged is fetched again', async () => {
  await read(['one'])
  kept.set([...kept.keys()].find(key => key.endsWith(wanted('one').sha256))!, new Response('eno'))
  expect(await read(['one'])).toEqual(['one'])
  expect(fetched).toHaveBeenCalledTimes(2)
})

test.each(['tow', 'on', 'ones'])('a damaged file (%s) is refused and not kept', async (text) => {
  files[wanted('one').url] = text
  await expect(read(['one'])).rejects.toMatchObject({ code: 'corrupt-file', values: { file: 'one.onnx' } })
  expect(hashes()).toEqual([])
})

test('a missing file', async () => {
  await expect(read(['absent'])).rejects.toMatchObject({ code: 'missing-file', values: { file: 'absent.onnx', status: 404 } })
})

test('no network', async () => {
  fetched.mockRejectedValueOnce(new TypeError('Failed to fetch'))
  await expect(read(['one'])).rejects.toMatchObject({ code: 'no-network' })
})

test('a browser that keeps nothing', async () => {
  vi.stubGlobal('caches', undefined)
  expect(await read(['one'])).toEqual(['one'])
})

test('without https there are no hashes: the length must be right', async () => {
  vi.stubGlobal('crypto', {})
  files[wanted('one').url] = 'tow'
  expect(await read(['one'])).toEqual(['tow'])
  files[wanted('three').url] = 'two'
  await expect(read(['three'])).rejects.toMatchObject({ code: 'corrupt-file' })
})

test('JSON is asked for anew, and that of the last visit serves without a network', async () => {
  const url = `${HOST}/model/model.json`
  files[url] = '{"version": 1, "files": {}}'
  expect(await readInfo(url)).toEqual({ version: 1, files: {} })
  files[url] = '{"version": 2, "files": {}}'
  expect(await readInfo(url)).toEqual({ version: 2, files: {} })
  await read(['one'])
  fetched.mockRejectedValueOnce(new TypeError('Failed to fetch'))
  expect(await readInfo(url)).toEqual({ version: 2, files: {} })
  for (const wrong of ['<!doctype html>', '{"error": "too many requests"}', 'null']) {
    files[url] = wrong
    await expect(readInfo(url)).rejects.toMatchObject({ code: 'corrupt-file', values: { file: 'model.json' } })
  }
  fetched.mockImplementationOnce(async () => cut('{"version": 3, "files": {}}', 9))
  expect(await readInfo(url)).toEqual({ version: 2, files: {} })
  kept.clear()
  fetched.mockImplementationOnce(async () => cut('{"version": 3, "files": {}}', 9))
  await expect(readInfo(url)).rejects.toMatchObject({ code: 'broke-off', values: { file: 'model.json' } })
  expect(kept.size).toBe(0)
})

/** An answer that breaks off after so many bytes */
function cut(text: string, at: number) {
  const parts = [bytesOf(text).slice(0, at)]
  return new Response(new ReadableStream({ pull: body => parts.length ? body.enqueue(parts.pop()!) : body.error(new TypeError('network error')) }))
}

test('a file that breaks off, ends early, or goes on as another, at every tenth: refused, not kept, and the next time it is taken', async () => {
  const text = 'abcdefghij'.repeat(100)
  files[wanted(text).url] = text
  for (let at = 0; at < text.length; at += text.length / 10) {
    for (const [code, answer] of [
      ['broke-off', cut(text, at)],
      ['corrupt-file', new Response(text.slice(0, at))],
      ['corrupt-file', new Response(text.slice(0, at) + 'x'.repeat(text.length - at))],
    ] as const) {
      fetched.mockImplementationOnce(async () => answer)
      await expect(read([text])).rejects.toMatchObject({ code })
      expect(hashes()).toEqual([])
    }
  }
  expect(await read([text])).toEqual([text])
})
