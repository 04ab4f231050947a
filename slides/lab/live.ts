// Experiments in the chapters, painted in this page when somebody asks: pictures by name, one after the other.
// They are painted in one window of a talk and seen in all.
import { onUnmounted, reactive, ref, watch } from 'vue'
import { useIsSlideActive } from '@slidev/client'
import type { Engine, Run, Settings } from '../engine/engine'
import { USUAL } from '../engine/types'
import { say, told } from '../words'
import { status, useEngine } from './engine'
import { useShared } from './windows'

export { USUAL }
export const example = { prompt: 'painting depicting the sea, sunrise, ship', seed: 42 }

type News = { begin: true } | { says: string } | { name: string, picture: ImageData }

/** paint({ name: settings or how to make them }): pictures[name], and with `images` pictures['name 1'], … after some steps. */
export function useLive() {
  const pictures = reactive<Record<string, ImageData>>({})
  const says = ref('')
  const active = useIsSlideActive()
  let current: Run | null = null
  let turn = 0

  const tell = useShared<News>('live', (news) => {
    if ('begin' in news)
      cancel() // also what this window paints, when the other begins
    else if ('says' in news)
      says.value = news.says
    else
      pictures[news.name] = news.picture
  })
  const show = (says: string) => tell({ says })

  async function paint(wanted: Record<string, Settings | ((engine: Engine) => Promise<Settings>)>) {
    tell({ begin: true })
    const mine = turn
    show(say('model.comes'))
    try {
      const engine = await useEngine()
      for (const [name, settings] of Object.entries(wanted)) {
        const asked = typeof settings === 'function' ? await settings(engine) : settings
        if (mine !== turn) return
        const steps = asked.steps ?? USUAL.steps
        current = engine.paint(asked, {
          onStep({ i, image }) {
            if (mine !== turn) return
            show(say('live.step', { name, step: i + 1, steps }))
            if (image) tell({ name: `${name} ${i + 1}`, picture: image })
          },
        })
        const result = await current.finished
        if (!result) return
        tell({ name, picture: result.image })
      }
      show(say('live.painted'))
    }
    catch (error) {
      if (mine === turn) show(told(error))
    }
  }

  function cancel() {
    turn++
    current?.cancel()
    current = null
  }

  function stop() {
    cancel()
    if (says.value !== say('live.painted')) says.value = ''
  }
  watch(active, on => on || stop())
  onUnmounted(stop)
  watch(() => status.bytes, bytes => status.phase === 'loading' && says.value && show(say('model.bytes', { done: (bytes / 1e6).toFixed(0), total: (status.total / 1e6).toFixed(0) })))

  return { pictures, says, paint, stop }
}
