// What the notebooks made: pictures (public/manifest.json) and numbers (public/facts.json).
// A glob, not an import, so that the deck still opens before they have run; tests/test_deck.py fails on a name that is missing.
import { scope, shared } from '../scope'

declare const __LANGUAGE__: 'en' | 'ja' // vite.config.ts

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
  alt_ja: string
  sha256_ja?: string // of a figure with words: there it is once more, in Japanese
  rows?: string[] // of a sheet
  columns?: string[]
}

const files = import.meta.glob('/public/{manifest,facts}.json', { eager: true, import: 'default' }) as Record<string, any>

export const figures: Record<string, Made> = files['/public/manifest.json']?.figures ?? {}
export const facts: Record<string, string | number | number[]> = files['/public/facts.json'] ?? {}
const inJapanese = (name: string) => __LANGUAGE__ === 'ja' && figures[name]?.sha256_ja
export const figureUrl = (name: string) => `${shared}${inJapanese(name) ? 'ja/' : ''}figures/${name}`
export const altOf = (name: string) => figures[name]?.[__LANGUAGE__ === 'ja' ? 'alt_ja' : 'alt']
// To what is made when the deck is built, to read: tools/read.py. While slides are edited there is none.
export const readUrl = (page: string) => (import.meta.env.PROD ? `${scope}${page}` : undefined)

const json = import.meta.glob('/public/figures/*.json', { eager: true, import: 'default' }) as Record<string, unknown>
export const data = Object.fromEntries(Object.entries(json).map(([path, value]) => [path.split('/').at(-1)!, value]))
