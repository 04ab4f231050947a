// Experiments in the chapters, painted in this page when somebody asks: pictures by name, one after the other.
import { onUnmounted, reactive, ref, watch } from 'vue'
import { useIsSlideActive } from '@slidev/client'
import type { Engine, Run, Settings } from '../engine/engine'
import { USUAL } from '../engine/types'
import { status, useEngine } from './engine'

export { USUAL }
export const example = { prompt: 'painting depicting the sea, sunrise, ship', seed: 42 }

/** paint({ name: settings or how to make them }): pictures[name], and with `images` pictures['name 1'], … after some steps. */
export function useLive() {
  const pictures = reactive<Record<string, ImageData>>({})
  const says = ref('')
  const active = useIsSlideActive()
  let current: Run | null = null
  let turn = 0

  async function paint(wanted: Record<string, Settings | ((engine: Engine) => Promise<Settings>)>) {
    const mine = ++turn
    current?.cancel()
    says.value = 'Loading the model …'
    try {
      const engine = await useEngine()
      for (const [name, settings] of Object.entries(wanted)) {
        if (mine !== turn) return
        const asked = typeof settings === 'function' ? await settings(engine) : settings
        const steps = asked.steps ?? USUAL.steps
        current = engine.paint(asked, {
          onStep({ i, image }) {
            if (mine !== turn) return
            says.value = `${name}: step ${i + 1} of ${steps}`
            if (image) pictures[`${name} ${i + 1}`] = image
          },
        })
        const result = await current.finished
        if (!result) return
        pictures[name] = result.image
      }
      says.value = 'Painted in this page.'
    }
    catch (error: any) {
      if (mine === turn) says.value = error.message
    }
  }

  function stop() {
    turn++
    current?.cancel()
    current = null
    if (!says.value.startsWith('Painted')) says.value = ''
  }
  watch(active, on => on || stop())
  onUnmounted(stop)
  watch(() => status.bytes, bytes => status.phase === 'loading' && says.value && (says.value = `Loading the model: ${(bytes / 1e6).toFixed(0)} of ${(status.total / 1e6).toFixed(0)} MB`))

  return { pictures, says, paint, stop }
}
