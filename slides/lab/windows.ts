// On stage two windows show the deck, the presenter's and the audience's: what is done in one is seen in the other.
// Two tabs of a reader are nobody's stage, so one of the two must be the presenter's.
import { scope } from '../scope'

const isPresenter = () => /\/presenter\//.test(location.hash)

/** tell(news): applied here, and in the other windows of the talk. News are plain data, no proxies. */
export function shared<News>(name: string, apply: (news: News) => void) {
  const channel = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel(`${name} ${scope}`)
  channel?.addEventListener('message', ({ data: { news, fromPresenter } }) => {
    if (fromPresenter || isPresenter())
      apply(news)
  })
  return (news: News) => {
    apply(news)
    channel?.postMessage({ news, fromPresenter: isPresenter() })
  }
}
