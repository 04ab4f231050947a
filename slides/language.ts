// The other language of the deck, and where its deck lies (vite.config.ts). While slides are
// edited there is only one.
declare const __LANGUAGE__: 'en' | 'ja'

export const other = __LANGUAGE__ === 'ja'
  ? { code: 'en', folder: '../' }
  : { code: 'ja', folder: 'ja/' }
export const isThere = import.meta.env.PROD
