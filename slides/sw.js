// Keeps what a reader has seen of the deck, so that the next visit needs no network.
// The model and its runtime are kept by slides/engine/store.ts. vite.config.ts writes the version.
const { scope } = self.registration
const MINE = `deck ${scope} ` // other decks of this host have caches of their own
const KEPT = `${MINE}VERSION`

self.addEventListener('install', () => self.skipWaiting())
self.addEventListener('activate', event => event.waitUntil(begin()))
self.addEventListener('message', event => event.waitUntil(Promise.all(event.data.map(url => keep(new Request(url))))))
self.addEventListener('fetch', (event) => {
  if (isDeck(event.request))
    event.respondWith(answer(event.request))
})

async function begin() {
  const old = (await caches.keys()).filter(name => name.startsWith(MINE) && name !== KEPT)
  await Promise.all(old.map(name => caches.delete(name)))
  await self.clients.claim()
}

function isDeck({ method, url }) {
  return method === 'GET' && url.startsWith(scope) && !/\/model\/|\/ort-[^/]*\.wasm$/.test(new URL(url).pathname)
}

/** What has a hash in its name is taken from here; of the rest the newest, or this where there is no network. */
async function answer(request) {
  const kept = await (await caches.open(KEPT)).match(request)
  if (kept && request.url.includes('/assets/'))
    return kept
  return keep(request).catch((error) => {
    if (kept)
      return kept
    throw error
  })
}

async function keep(request) {
  if (!isDeck(request))
    return
  const answer = await fetch(request)
  if (answer.status === 200)
    await (await caches.open(KEPT)).put(request, answer.clone())
  return answer
}
