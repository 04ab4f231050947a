// Numbers to pixels, in the colours of the figures (src/sdscope/figures/base.py).
import type { Step, Tensor } from '../engine/types'

type Colour = [number, number, number]
const PAPER: Colour = [251, 250, 247]
const NEGATIVE: Colour = [59, 111, 182]
const POSITIVE: Colour = [194, 86, 45]

const mix = (a: Colour, b: Colour, share: number) => a.map((v, i) => v + (b[i] - v) * share) as Colour

function image(width: number, height: number, colour: (i: number) => Colour, alpha?: (i: number) => number) {
  const out = new ImageData(width, height)
  for (let i = 0; i < width * height; i++)
    out.data.set([...colour(i), alpha ? 255 * alpha(i) : 255], 4 * i)
  return out
}

/** Numbers [h, w], from negative over zero to positive. */
export function signed({ data, dims: [h, w] }: Tensor) {
  const limit = data.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6)
  return image(w, h, i => mix(PAPER, data[i] < 0 ? NEGATIVE : POSITIVE, Math.abs(data[i]) / limit))
}

/** Embeddings [77, D] of the first `rows` tokens. */
export const rows = ({ data, dims: [, width] }: Tensor, count: number) => signed({ data: data.subarray(0, count * width), dims: [count, width] })

/** What the four channels look like as colours: the affine map that best fits latents to the pictures they are decoded to. */
export function fitColours(steps: Step[]): number[][] | null {
  const seen = steps.filter(step => step.image)
  if (!seen.length)
    return null
  const [channels, h, w] = seen[0].x0.dims
  const n = channels + 1
  const left = Array.from({ length: n }, () => new Array(n).fill(0))
  const right = Array.from({ length: n }, () => [0, 0, 0])
  for (const { x0, image } of seen) {
    const side = image!.width / w
    for (let y = 0; y < h; y++) {
      for (let x = 0; x < w; x++) {
        const z = [...Array.from({ length: channels }, (_, c) => x0.data[(c * h + y) * w + x]), 1]
        const rgb = meanColour(image!, x * side, y * side, side)
        for (let a = 0; a < n; a++) {
          for (let b = 0; b < n; b++)
            left[a][b] += z[a] * z[b]
          for (let c = 0; c < 3; c++)
            right[a][c] += z[a] * rgb[c]
        }
      }
    }
  }
  return solve(left, right)
}

function meanColour({ data, width }: ImageData, x0: number, y0: number, side: number): Colour {
  const sum: Colour = [0, 0, 0]
  for (let y = y0; y < y0 + side; y++) {
    for (let x = x0; x < x0 + side; x++) {
      for (let c = 0; c < 3; c++)
        sum[c] += data[4 * (y * width + x) + c]
    }
  }
  return sum.map(value => value / side ** 2) as Colour
}

/** Gauss and Jordan; a little is added to the diagonal, so that it always has an answer. */
function solve(left: number[][], right: number[][]) {
  const n = left.length
  for (let i = 0; i < n; i++) {
    left[i][i] += 1e-3
    for (let j = 0; j < n; j++) {
      if (j === i)
        continue
      const factor = left[j][i] / left[i][i]
      for (let k = 0; k < n; k++)
        left[j][k] -= factor * left[i][k]
      for (let c = 0; c < right[i].length; c++)
        right[j][c] -= factor * right[i][c]
    }
  }
  return right.map((row, i) => row.map(value => value / left[i][i]))
}

/** Latents [4, h, w] as colours, a pixel for each place. */
export function coloured({ data, dims: [channels, h, w] }: Tensor, map: number[][]) {
  return image(w, h, i => [0, 1, 2].map((c) => {
    let value = map[channels][c]
    for (let k = 0; k < channels; k++)
      value += data[k * h * w + i] * map[k][c]
    return value
  }) as Colour)
}

/** How much each place looks at the tokens of a word: the mean over the UNet's parts, at the finest size, [h, w], as in src/sdscope/trace/record.py. */
export function wordAttention(step: Step, positions: number[]): Tensor {
  const maps = Object.values(step.attention)
  const h = Math.max(...maps.map(map => map.dims[1]))
  const w = Math.max(...maps.map(map => map.dims[2]))
  const out = new Float32Array(h * w)
  for (const { data, dims: [, mh, mw] } of maps) {
    for (const position of positions) {
      const map = data.subarray(position * mh * mw, (position + 1) * mh * mw)
      for (let i = 0; i < h * w; i++)
        out[i] += between(map, mh, mw, ((Math.floor(i / w) + 0.5) * mh) / h - 0.5, ((i % w + 0.5) * mw) / w - 0.5) / maps.length
    }
  }
  return { data: out, dims: [h, w] }
}

/** The value at (y, x) between the four around it; beyond the rim, the rim's (torch: bilinear, align_corners=False). */
function between(map: Float32Array, h: number, w: number, y: number, x: number) {
  y = Math.max(y, 0), x = Math.max(x, 0)
  const [top, left] = [Math.min(Math.floor(y), h - 1), Math.min(Math.floor(x), w - 1)]
  const [bottom, right] = [Math.min(top + 1, h - 1), Math.min(left + 1, w - 1)]
  const row = (r: number) => map[r * w + left] + (map[r * w + right] - map[r * w + left]) * (x - left)
  return row(top) + (row(bottom) - row(top)) * (y - top)
}

/** Attention [h, w] to lie over a picture: clear where there is least of all, dark red where there is most. */
export function heat({ data, dims: [h, w] }: Tensor, least: number, most: number) {
  const share = (i: number) => (data[i] - least) / Math.max(most - least, 1e-6)
  return image(w, h, i => mix([222, 150, 90], [140, 34, 18], share(i)), i => 0.9 * share(i))
}
