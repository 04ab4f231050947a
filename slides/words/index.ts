// What the components say, in the language of this deck: say('lab.step', { step: 3, steps: 15 }).
// en.json and ja.json have the same keys, and of each build the bundler leaves one out.
import { EngineError } from '../engine/types'
import en from './en.json'
import ja from './ja.json'

declare const __LANGUAGE__: 'en' | 'ja' // vite.config.ts

export type Key = keyof typeof en
const words: Record<Key, string> = __LANGUAGE__ === 'ja' ? ja : en

/** Values go in where their names stand in braces; a name without a value stays. */
export const say = (key: Key, values: Record<string, unknown> = {}) =>
  words[key].replace(/\{(\w+)\}/g, (name, value) => String(values[value] ?? name))

export const has = (key: string) => key in words

/** What went wrong, in one sentence: the engine has codes and no words. */
export const told = (error: unknown) => error instanceof EngineError ? say(`engine.${error.code}`, error.values) : (error as Error).message

// A thousand millions, and a million; Japanese counts by ten thousands.
const [LARGE, LESS] = __LANGUAGE__ === 'ja' ? [1e8, 1e4] : [1e9, 1e6]

/** 2.6 billion, 865.9 million. `digits`: of what is less than the larger of the two. */
export const large = (n: number, digits = 1) =>
  n >= LARGE ? say('number.large', { n: (n / LARGE).toFixed(1) }) : say('number.less', { n: (n / LESS).toFixed(digits) })
