// What the notebooks made: pictures (public/manifest.json) and numbers (public/facts.json).
// A glob, not an import, so that the deck still opens before they have run; tests/test_deck.py fails on a name that is missing.
import { shared } from '../scope'

export interface Made {
  notebook: string
  cell: string
  prompt: string | null
  seed: number | number[] | null
  steps: number | number[] | null
  guidance: number | number[] | null
  model: string | null
  width: number
  height: number
  alt: string
  rows?: string[] // of a sheet
  columns?: string[]
}

const files = import.meta.glob('/public/{manifest,facts}.json', { eager: true, import: 'default' }) as Record<string, any>

export const figures: Record<string, Made> = files['/public/manifest.json']?.figures ?? {}
export const facts: Record<string, string | number | number[]> = files['/public/facts.json'] ?? {}
export const figureUrl = (name: string) => `${shared}figures/${name}`
// To what is made when the deck is built, to read: tools/read.py. While slides are edited there is none.
export const readUrl = (page: string) => (import.meta.env.PROD ? `${shared}${page}` : undefined)

const json = import.meta.glob('/public/figures/*.json', { eager: true, import: 'default' }) as Record<string, unknown>
export const data = Object.fromEntries(Object.entries(json).map(([path, value]) => [path.split('/').at(-1)!, value]))
