// Where this deck lies. What a browser keeps or passes on belongs to all of a host, so names there carry it:
// decks beside each other (two languages, previews) leave each other alone.
export const scope = new URL(import.meta.env.BASE_URL, document.baseURI).href

// Where the files lie that it has in common with the other language: figures, the model, runtimes (vite.config.ts).
declare const __SHARED__: string
export const shared = new URL(__SHARED__, scope).href
