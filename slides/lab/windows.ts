// On stage two windows show the deck, the presenter's and the audience's: what is done in one is seen in the other.
// Two tabs of a reader are nobody's stage, so one of the two must be the presenter's.
import { computed, onUnmounted, ref } from 'vue'
import { useSlideContext } from '@slidev/client'
import { scope } from '../scope'

const isPresenter = () => /\/presenter\//.test(location.hash)

/** tell(news): applied here, and in the other windows of the talk. News are plain data, no proxies. */
export function shared<News>(name: string, apply: (news: News) => void) {
  const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(`${name} ${scope}`)
  channel?.addEventListener('message', ({ data: { news, fromPresenter } }) => {
    if (fromPresenter || isPresenter())
      apply(news)
  })
  const tell = (news: News) => {
    apply(news)
    channel?.postMessage({ news, fromPresenter: isPresenter() })
  }
  return Object.assign(tell, { close: () => channel?.close() })
}

/** The same for a part of a slide, as long as it is there; other slides may have such a part, too. */
export function useShared<News>(name: string, apply: (news: News) => void) {
  const tell = shared(`${name} of slide ${useSlideContext().$page.value}`, apply)
  onUnmounted(tell.close)
  return tell
}

/** A ref that the windows have in common: what is chosen, typed, pointed at. */
export function useSharedRef<Value>(name: string, value: Value) {
  const own = ref<Value>(value)
  const tell = useShared<Value>(name, news => (own.value = news as typeof own.value))
  return computed({ get: () => own.value as Value, set: tell })
}
