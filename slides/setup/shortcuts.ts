import { useNav } from '@slidev/client'
import { defineShortcutsSetup } from '@slidev/types'
import { change } from '../code/talk'
import { isThere, other } from '../language'

// s: the next slide of the short talk, 15 minutes. Its slides say `short: true`.
// e: the code of this slide can be changed, and run.
// l: the same slide in the other language.
export default defineShortcutsSetup((nav, base) => {
  const { slides, currentSlideNo, clicks } = useNav()
  const next = () => slides.value.find(s => s.no > currentSlideNo.value && s.meta.slide?.frontmatter.short)
  return [
    ...base,
    { key: 's', fn: () => next() && nav.go(next()!.no), autoRepeat: true },
    { key: 'e', fn: () => change(currentSlideNo.value, clicks.value) },
    { key: 'l', fn: () => isThere && location.assign(other.folder + location.hash) },
  ]
})
