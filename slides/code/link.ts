// A changed block as a link: compressed in the fragment, so that no server is told of it.
import type { Settings } from '../python/types'

export interface Linked { block: string, text: string, settings: Settings }

export const LONGEST = 4000 // letters of a link's code
const MOST = 20_000 // letters of a text: what comes out of a link may be much longer than the link

const through = (data: BlobPart, stream: ReadableWritablePair<any, any>) => new Blob([data]).stream().pipeThrough(stream)

export async function pack({ block, text, settings: { prompt, seed } }: Linked) {
  const stream = through(JSON.stringify([block, text, prompt, seed]), new CompressionStream('deflate-raw'))
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer())
  return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')
}

/** What a link holds, or null where it is damaged or no block's. */
export async function unpack(packed: string): Promise<Linked | null> {
  try {
    if (packed.length > LONGEST)
      return null
    const bytes = Uint8Array.from(atob(packed.replaceAll('-', '+').replaceAll('_', '/')), letter => letter.charCodeAt(0))
    let json = ''
    const reader = through(bytes, new DecompressionStream('deflate-raw')).pipeThrough(new TextDecoderStream()).getReader()
    for (let part = await reader.read(); !part.done && json.length <= MOST; part = await reader.read())
      json += part.value
    const [block, text, prompt, seed] = JSON.parse(json)
    const fits = [block, text, prompt].every(value => typeof value === 'string') && Number.isSafeInteger(seed) && seed >= 0
    return fits ? { block, text, settings: { prompt, seed } } : null
  }
  catch {
    return null
  }
}
