import { expect, test } from 'vitest'
import { makeTokenizer } from '../../slides/engine/tokenizer'
import { readJson, said } from './setup'

const json = readJson('src/sdscope/postcard/weights/tokenizer/tokenizer.json')
const end = json.added_tokens.find((token: any) => token.content === '<|endoftext|>').id
const tokenize = makeTokenizer(json, { length: 77, end, pad: end })
const { texts, ids, words } = said('tokens')

test('10,000 texts have the ids that Python gives them', () => {
  expect(texts.length).toBe(10_000)
  const different = texts.filter((text: string, i: number) => JSON.stringify(tokenize(text).ids) !== JSON.stringify(ids[i]))
  expect(different.slice(0, 3)).toEqual([])
})

test('the words and their positions are those of a trace', () => {
  expect(words.length).toBe(2000)
  const ours = (text: string) => tokenize(text).words.map(({ word, positions }) => [word, positions])
  const different = words.filter((row: any, i: number) => JSON.stringify(ours(texts[i])) !== JSON.stringify(row))
  expect(different.slice(0, 3)).toEqual([])
})

test('words outside the vocabulary are named, signs and numbers are not', () => {
  expect(tokenize('a ship, 12 xylophones!? the Łódź 😀').unknown).toEqual(['xylophones', 'łódź', '😀'])
  expect(tokenize('a ship at sunrise').unknown).toEqual([])
})

test('what does not fit is told', () => {
  const { ids, all, dropped } = tokenize(`${'ship '.repeat(75)}castle, night`)
  expect(ids.length).toBe(77)
  expect(dropped).toBe('castle , night')
  expect([all.length, all.slice(0, 76)]).toEqual([80, ids.slice(0, 76)])
  expect(tokenize('ship '.repeat(75)).dropped).toBe('')
})
