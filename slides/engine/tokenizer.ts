// A text as token ids, equal to those of transformers' CLIPTokenizer, read from the same tokenizer.json.

import { Tokenizer } from '@huggingface/tokenizers'
import type { ModelInfo, Tokens } from './types'

/** How byte-level tokenizers cut a text (GPT-2's rule), with the white space of Unicode. */
const BYTE_LEVEL = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+`

export function makeTokenizer(json: any, config: object, { length, end, pad }: ModelInfo['tokens']) {
  const tokenizer = new Tokenizer(withUnicodeSpace(json), config)
  const decode = (pieces: string[]) => tokenizer.decoder!.decode(pieces.map(piece => piece.replace('</w>', ' '))).trim()

  return function tokenize(text: string): Tokens {
    // JavaScript alone writes a capital sigma at the end of a word as a small letter of its own
    const all = tokenizer.encode(text.replaceAll('Σ', 'σ')).ids
    const fits = all.length <= length
    const ids = fits ? all : [...all.slice(0, length - 1), end]
    const words = wordsOf(ids.slice(1, -1).map(id => tokenizer.id_to_token(id)!), decode)
    const padded = [...ids, ...Array(length - ids.length).fill(pad)]
    return {
      ids: padded,
      pieces: padded.map(id => tokenizer.id_to_token(id)!),
      words,
      unknown: words.filter(({ word, positions }) => positions.length > 1 && /[\p{L}\p{So}]/u.test(word)).map(({ word }) => word),
      dropped: fits ? '' : decode(all.slice(length - 1, -1).map(id => tokenizer.id_to_token(id)!)),
    }
  }
}

/** Pieces are glued up to `</w>`; position 0 is the start token. */
function wordsOf(pieces: string[], decode: (pieces: string[]) => string) {
  const words: Tokens['words'] = []
  let from = 0
  pieces.forEach((piece, i) => {
    if (!piece.endsWith('</w>'))
      return
    words.push({ word: decode(pieces.slice(from, i + 1)), positions: Array.from({ length: i + 1 - from }, (_, k) => from + k + 1) })
    from = i + 1
  })
  return words
}

/** JavaScript's `\s` holds U+FEFF, that of Unicode does not: say what is meant, here and in the library's own rule. */
function withUnicodeSpace(json: any) {
  const { pretokenizers, ...rest } = json.pre_tokenizer
  const cut = { type: 'Split', pattern: { Regex: BYTE_LEVEL }, behavior: 'Isolated', invert: false }
  const cutFirst = pretokenizers.flatMap((part: any) =>
    part.type === 'ByteLevel' && part.use_regex ? [cut, { ...part, use_regex: false }] : [part])
  const written = JSON.stringify({ ...json, pre_tokenizer: { ...rest, pretokenizers: cutFirst } })
  return JSON.parse(written.replaceAll(String.raw`\\s`, String.raw`\\p{White_Space}`))
}
