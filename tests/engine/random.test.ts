import { expect, test } from 'vitest'
import { generator, mt19937 } from '../../slides/engine/random'
import { said } from './setup'

test('the 10,000th number of MT19937 is the one that the C++ standard names', () => {
  const next = mt19937(5489)
  let last = 0
  for (let i = 0; i < 10_000; i++)
    last = next()
  expect(last).toBe(4123659995)
})

test.each(said('random'))('seed $seed gives the numbers of torch.randn, and the next ones', ({ seed, x, next }) => {
  const draw = generator(seed)
  for (const theirs of [x, next]) {
    const ours = draw(theirs.length)
    const furthest = Math.max(...theirs.map((value: number, i: number) => Math.abs(value - ours[i])))
    expect(furthest).toBeLessThan(1e-5)
  }
})
