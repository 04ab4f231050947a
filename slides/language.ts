// The other language of the deck: how it is called there, and where its deck lies (vite.config.ts). While slides are
// edited there is only one.
declare const __LANGUAGE__: 'en' | 'ja'

export const other = __LANGUAGE__ === 'ja'
  ? { code: 'en', name: 'English', folder: '../' }
  : { code: 'ja', name: '日本語', folder: 'ja/' }
export const isThere = import.meta.env.PROD
