import { defineShikiSetup } from '@slidev/types'

// One light theme whose every token, comments included, keeps 4.5:1 on white.
export default defineShikiSetup(() => ({
  themes: { light: 'github-light-default', dark: 'github-light-default' },
  // No limit: on a busy machine half a second for a line is too little, and its end would stay uncoloured.
  tokenizeTimeLimit: 0,
}))
