// The one engine of this page, opened when somebody first asks for it, and what it says meanwhile.
import { reactive } from 'vue'
import type { Engine, Loaded } from '../engine/engine'
import { shared } from '../scope'
import { told } from '../words'

export const status = reactive({
  phase: 'closed' as 'closed' | 'loading' | 'ready' | 'failed',
  bytes: 0,
  total: 0,
  message: '', // why it failed, in one sentence
  loaded: null as Loaded | null,
})

let opening: Promise<Engine> | null = null

/** Loads the model the first time; EngineError, told in `status` too, where it cannot. It may be tried again. */
export function useEngine(): Promise<Engine> {
  return opening ??= (async () => {
    Object.assign(status, { phase: 'loading', bytes: 0, total: 0, message: '' })
    const { openEngine } = await import('../engine/engine')
    const engine = openEngine({ model: `${shared}model/`, onProgress: (bytes, total) => Object.assign(status, { bytes, total }) })
    status.loaded = await engine.load()
    status.phase = 'ready'
    return engine
  })().catch((error) => {
    opening = null
    Object.assign(status, { phase: 'failed', message: told(error) })
    throw error
  })
}
