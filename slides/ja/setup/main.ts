import { defineAppSetup } from '@slidev/types'

// Browsers that do not know `word-break: auto-phrase` are given BudouX, by which the others do it.
export default defineAppSetup(async () => {
  if (CSS.supports('word-break', 'auto-phrase'))
    return
  await import('../phrases').then(({ separatePhrases }) => separatePhrases(document.body), () => {}) // no network: any line ends do
})
