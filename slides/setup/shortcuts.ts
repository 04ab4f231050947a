import { useNav } from '@slidev/client'
import { defineShortcutsSetup } from '@slidev/types'

// s: the next slide of the short talk, 15 minutes. Its slides say `short: true`.
export default defineShortcutsSetup((nav, base) => {
  const { slides, currentSlideNo } = useNav()
  const next = () => slides.value.find(s => s.no > currentSlideNo.value && s.meta.slide?.frontmatter.short)
  return [...base, { key: 's', fn: () => next() && nav.go(next()!.no), autoRepeat: true }]
})
