// Where this deck lies. What a browser keeps or passes on belongs to all of a host, so names there carry it:
// decks beside each other (two languages, previews) leave each other alone.
export const scope = new URL(import.meta.env.BASE_URL, document.baseURI).href
