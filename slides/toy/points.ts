// Shapes to learn: points in the plane, their numbers in pairs, with mean 0 and spread 1, as latents have.

import { randn } from '../engine/random'

/** x, y, x, y, … */
export type Points = Float32Array
type Line = [x: number, y: number][]

const COUNT = 500
/** As many as anybody may draw */
export const MOST = 1000
const APART = 0.03 // on a line that is drawn
const WIDTH = 0.04 // how far beside its line a point lies

const { PI, cos, sin } = Math
const curve = (at: (s: number) => [number, number]): Line => Array.from({ length: 101 }, (_, i) => at(i / 100))
/** Around a middle, with a radius across and one up, between angles in half turns */
const bow = (x: number, y: number, across: number, up: number, from: number, to: number) => curve((s) => {
  const angle = PI * (from + s * (to - from))
  return [x + across * cos(angle), y + up * sin(angle)]
})

const LINES: Record<string, Line[]> = {
  'moons': [bow(-0.5, -0.25, 1, 1, 0, 1), bow(0.5, 0.25, 1, 1, 1, 2)],
  'spiral': [curve(s => [(0.1 + s) * cos(4 * PI * s), (0.1 + s) * sin(4 * PI * s)])],
  'heart': [curve((s) => {
    const a = 2 * PI * s
    return [16 * sin(a) ** 3, 13 * cos(a) - 5 * cos(2 * a) - 2 * cos(3 * a) - cos(4 * a)]
  })],
  'SD': [
    bow(-1.05, 0.5, 0.65, 0.5, 0.15, 1.5), bow(-1.05, -0.5, 0.65, 0.5, 0.5, -0.85),
    [[0.3, -1], [0.3, 1]], bow(0.3, 0, 1.3, 1, -0.5, 0.5),
  ],
}

/** Points along lines, evenly by their length. */
function along(lines: Line[]): Points {
  const pieces = lines.flatMap(line => line.slice(1).map((to, i) => {
    const across = to[0] - line[i][0]
    const up = to[1] - line[i][1]
    return { from: line[i], across, up, length: Math.hypot(across, up) }
  }))
  const apart = pieces.reduce((sum, { length }) => sum + length, 0) / COUNT
  const points = new Float32Array(2 * COUNT)
  let [piece, start] = [0, 0]
  for (let i = 0; i < COUNT; i++) {
    while (start + pieces[piece].length < (i + 0.5) * apart)
      start += pieces[piece++].length
    const { from, across, up, length } = pieces[piece]
    const s = ((i + 0.5) * apart - start) / length
    points.set([from[0] + s * across, from[1] + s * up], 2 * i)
  }
  return points
}

function standard(points: Points): Points {
  const mean = [0, 1].map(axis => points.reduce((sum, value, i) => sum + (i % 2 === axis ? value : 0), 0) * 2 / points.length)
  const centred = points.map((value, i) => value - mean[i % 2])
  const spread = Math.sqrt(centred.reduce((sum, value) => sum + value ** 2, 0) / points.length)
  return centred.map(value => value / spread)
}

const beside = randn(2 * COUNT, 1)

export const SHAPES: Record<string, Points> = Object.fromEntries(
  Object.entries(LINES).map(([name, lines]) => [name, standard(along(lines)).map((value, i) => value + WIDTH * beside[i])]),
)

/** What is drawn, and a stroke of the pen more: points as close together as those of the shapes. */
export function drawOn(points: Points, from: [number, number], to: [number, number]): Points {
  const count = Math.min(Math.floor(Math.hypot(to[0] - from[0], to[1] - from[1]) / APART), MOST - points.length / 2)
  const more = Float32Array.from({ length: 2 * count }, (_, i) => {
    const along = ((i >> 1) + 1) / count
    return from[i % 2] + along * (to[i % 2] - from[i % 2]) + WIDTH * beside[(points.length + i) % beside.length]
  })
  return Float32Array.of(...points, ...more)
}
