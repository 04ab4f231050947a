// A text as token ids, equal to those of transformers' CLIPTokenizer, read from the same tokenizer.json.

import { Tokenizer } from '@huggingface/tokenizers'
import type { ModelInfo, Tokens } from './types'

/** How byte-level tokenizers cut a text (GPT-2's rule), with the white space of Unicode. */
const BYTE_LEVEL = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+`

const [START, END] = ['<|startoftext|>', '<|endoftext|>']

/** Where the prompt ends: the first of the ends that nothing else comes after. A text may hold others. */
function endOf(ids: number[], end: number) {
  let i = ids.length - 1
  while (i > 0 && (ids[i] !== end || ids[i - 1] === end))
    i -= 1
  return i || ids.length
}

export function makeTokenizer(json: any, { length, end, pad }: ModelInfo['tokens']) {
  const tokenizer = new Tokenizer(withUnicodeSpace(json), {})
  const pieceOf = (id: number) => tokenizer.id_to_token(id)!
  const decode = (pieces: string[]) => tokenizer.decoder!.decode(pieces.map(piece => piece.replace('</w>', '')))

  /** Pieces are glued up to `</w>`; a start or end that was typed is no word. `first`: the position of the first of these ids. */
  function wordsOf(ids: number[], first: number) {
    const words: Tokens['words'] = []
    let from = 0
    ids.map(pieceOf).forEach((piece, i, pieces) => {
      if (piece === START || piece === END)
        from = i + 1
      if (!piece.endsWith('</w>'))
        return
      const positions = Array.from({ length: i + 1 - from }, (_, k) => first + from + k)
      words.push({ word: decode(pieces.slice(from, i + 1)), positions })
      from = i + 1
    })
    return words
  }

  return function tokenize(text: string): Tokens {
    // JavaScript alone writes a capital sigma at the end of a word as a small letter of its own
    const all = tokenizer.encode(text.replaceAll('Σ', 'σ')).ids
    const kept = all.length <= length ? all : [...all.slice(0, length - 1), end]
    const ids = [...kept, ...Array(length - kept.length).fill(pad)]
    const words = wordsOf(ids.slice(0, endOf(ids, end)), 0)
    const isUnknown = ({ word, positions }: Tokens['words'][0]) => positions.length > 1 && /[\p{L}\p{So}]/u.test(word)
    return {
      ids,
      pieces: ids.map(pieceOf),
      words,
      unknown: words.filter(isUnknown).map(({ word }) => word),
      all,
      dropped: wordsOf(all.slice(length - 1, -1), length - 1).map(({ word }) => word).join(' '),
    }
  }
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
