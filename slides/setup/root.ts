import { addSyncMethod, disableBuiltinSync } from '@slidev/client'
import { defineRootSetup } from '@slidev/types'
import { scope } from '../scope'

// The presenter leads the audience. Slidev's own channel is named by the deck's title, which another deck of this host may have too.
export default defineRootSetup(() => {
  if (!import.meta.env.PROD) // there the server passes it on
    return
  addSyncMethod({
    init(name, onUpdate) {
      const channel = new BroadcastChannel(`${name} ${scope}`)
      channel.addEventListener('message', ({ data }) => onUpdate(data))
      return (state, updating) => updating || channel.postMessage({ ...state })
    },
  })
  queueMicrotask(disableBuiltinSync) // its channels are open by then, and are closed
})
