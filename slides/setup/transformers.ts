import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineTransformersSetup } from '@slidev/types'

// Light lines by what stands in them, so that a light cannot wander off when the code moves:
//   <<< @/src/sdscope/pipeline.py#denoise python {all|/chunk(2)/|/def /-/return/,/noise =/}
// /text/ is every line that holds the text; /a/-/b/ is from the first line with a to the next with b.
// A text that is not there stops the build. Numbers and `all` stay as they are.
const INCLUDE = /^(<<< @\/(\S+?)(?:#([\w-]+))? \w+ \{)([^}\n]*\/[^}\n]*)\}/gm
// A slide with cells of notebooks gets <Cells>, by which the speaker can change and run them.
const CELL = /^<<< @\/embed\/(\w+)\/(\w+)\.py\b/gm

export default defineTransformersSetup(() => ({
  pre: [({ s, options, slide }) => {
    for (const match of s.original.matchAll(INCLUDE)) {
      const [all, head, path, region, lights] = match
      const lines = cut(readFileSync(join(options.userRoot, path), 'utf8').split('\n'), region)
      const numbers = lights.replace(/\/([^/|]+)\/(?:-\/([^/|]+)\/)?/g, (term, from, to) => {
        const found = find(lines, from, to)
        if (!found)
          throw new Error(`slide ${slide.index + 1}: ${path}#${region} has no line for ${term}`)
        return found
      })
      s.overwrite(match.index, match.index + all.length, `${head}${numbers}}`)
    }
    const cells = [...s.original.matchAll(CELL)].map(([, notebook, tag]) => `'${notebook}#${tag}'`)
    if (cells.length)
      s.append(`\n\n<Cells :at="[${cells.join(', ')}]" />\n`)
  }],
}))

function cut(lines: string[], region?: string) {
  if (!region)
    return lines
  const marker = /^\s*# (?:end)?region\b/
  const start = lines.findIndex(line => line.trim() === `# region ${region}`)
  const end = lines.findIndex(line => line.trim() === `# endregion ${region}`)
  if (start < 0 || end < start)
    throw new Error(`no region ${region}`)
  return lines.slice(start + 1, end).filter(line => !marker.test(line))
}

function find(lines: string[], from: string, to?: string) {
  const having = lines.flatMap((line, i) => (line.includes(from) ? [i + 1] : []))
  if (!to || !having.length)
    return having.join(',')
  const last = lines.findIndex((line, i) => i + 1 >= having[0] && line.includes(to)) + 1
  return last ? `${having[0]}-${last}` : ''
}
