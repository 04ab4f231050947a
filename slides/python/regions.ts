// The regions of the real files as text: as a slide shows them, and with an idea in place; and the notebooks' cells.

import ideas from './ideas.json'
import type { Change, Module } from './types'

/** One change that teaches something: these lines of a region become those. What to look for then: look.NAME in words/. */
export interface Idea {
  name: string
  module: Module
  region: string
  from: string[]
  to: string[]
}

const texts = import.meta.glob([
  '../../src/sdscope/{pipeline,scheduler,unet,vae,postcard/training/diffusion}.py',
  '../../embed/*/*.py',
], { query: '?raw', import: 'default', eager: true })
const MARKER = /^\s*# (?:end)?region\b/

/** A region's lines, as far to the left as they go, without the markers of regions within it. */
export function textOf(module: Module, region: string): string {
  const lines = (texts[`../../src/sdscope/${module}.py`] as string).split('\n')
  const [start, end] = ['region', 'endregion'].map(marker => lines.findIndex(line => line.trim() === `# ${marker} ${region}`))
  const within = lines.slice(start + 1, end).filter(line => !MARKER.test(line))
  const indent = Math.min(...within.filter(line => line.trim()).map(line => line.search(/\S/)))
  return within.map(line => line.slice(indent)).join('\n')
}

/** A notebook's cell, '05_scheduler#subtract' */
export const cellText = (cell: string) => (texts[`../../embed/${cell.replace('#', '/')}.py`] as string).trimEnd()

export const ideasFor = (module: Module, region: string) => (ideas as Idea[]).filter(idea => idea.module === module && idea.region === region)

/** The region's text with the idea in it; `text`: as it was, if nothing else is said. */
export function withIdea({ module, region, from, to }: Idea, text = textOf(module, region)): Change | null {
  const lines = text.split('\n')
  const at = lines.findIndex((_, i) => from.every((line, k) => lines[i + k]?.trim() === line))
  if (at < 0)
    return null
  const indent = lines[at].slice(0, lines[at].search(/\S/))
  lines.splice(at, from.length, ...to.map(line => indent + line))
  return { module, region, code: lines.join('\n') }
}
