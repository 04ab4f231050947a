import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { posix, resolve } from 'node:path'
import cjkFriendly from 'markdown-it-cjk-friendly'
import type { Plugin, RenderBuiltAssetUrl } from 'vite'
import { defineConfig } from 'vite'
import { makeLicences } from './slides/licences/plugin'

// The language of the deck, by its entry. Japanese is built into the folder ja/ of the English one (Makefile), and takes
// from there what both need: what public/ holds, and what is LARGE. `shared` is the way to it.
const language = process.argv.some(word => word.endsWith('slides.ja.md')) ? 'ja' : 'en'
const below = language === 'ja' && process.argv.includes('build')
const shared = below ? '../' : './'
const LARGE = /\.wasm$|^assets\/pyodide-/

// Slides link to the code as it was when the deck was built: this commit, or main outside a clone.
function commit() {
  try {
    return execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  }
  catch {
    return 'main'
  }
}

// {'pipeline.py#denoise': [103, 127], …}: the first and the last line of every region.
function regions() {
  const found: Record<string, [number, number]> = {}
  for (const file of (readdirSync('src/sdscope', { recursive: true }) as string[]).filter(name => name.endsWith('.py'))) {
    readFileSync(`src/sdscope/${file}`, 'utf8').split('\n').forEach((line, i) => {
      const [, end, name] = line.match(/^\s*# (end)?region (\S+)/) ?? []
      if (end)
        found[`${file}#${name}`][1] = i
      else if (name)
        found[`${file}#${name}`] = [i + 2, i + 2]
    })
  }
  return found
}

// The runtimes of slides/engine/: how long their files are, and their hashes, by which the reader's browser checks and keeps them.
function runtime(name: string) {
  const file = readFileSync(`node_modules/onnxruntime-web/dist/${name}.wasm`)
  return { bytes: file.length, sha256: createHash('sha256').update(file).digest('hex') }
}

// Python for the page (slides/python/), as it came, in a folder of its version: fetched when somebody first runs code.
const PYODIDE = 'node_modules/pyodide'
const PYODIDE_FILES = ['pyodide.mjs', 'pyodide.asm.mjs', 'pyodide.asm.wasm', 'python_stdlib.zip']
const readPyodide = (name: string) => readFileSync(`${PYODIDE}/${name}`)
const pyodide = {
  folder: `assets/pyodide-${JSON.parse(readPyodide('package.json').toString()).version}/`,
  info: JSON.parse(readPyodide('pyodide-lock.json').toString()).info,
  bytes: readPyodide('pyodide.asm.wasm').length + readPyodide('python_stdlib.zip').length,
}

const python: Plugin = {
  name: 'python',
  generateBundle() {
    for (const name of PYODIDE_FILES)
      this.emitFile({ type: 'asset', fileName: pyodide.folder + name, originalFileName: resolve(PYODIDE, name), source: readPyodide(name) })
  },
}

// Of what is told about a figure the page takes neither hashes, of which nothing can be compressed, nor the other language.
const manifest: Plugin = {
  name: 'manifest',
  enforce: 'pre',
  transform(code, id) {
    if (!id.split('?')[0].endsWith('public/manifest.json')) return
    const told = JSON.parse(code)
    for (const figure of Object.values(told.figures) as Record<string, unknown>[]) {
      figure.sha256_ja &&= 'there'
      for (const name of ['sha256', 'model_sha256', 'untranslated', language === 'ja' ? 'alt' : 'alt_ja']) delete figure[name]
    }
    return JSON.stringify(told)
  },
}
const licences = makeLicences()

const RUNTIMES = { wasm: runtime('ort-wasm-simd-threaded'), webgpu: runtime('ort-wasm-simd-threaded.asyncify') }

// Nothing that is typed leaves the page: it may connect to where it came from and to nowhere else.
const POLICY = [
  'default-src \'self\'',
  'script-src \'self\' \'wasm-unsafe-eval\'',
  'worker-src \'self\' blob:',
  'connect-src \'self\'',
  'style-src \'self\' \'unsafe-inline\'',
  'img-src \'self\' data: blob:',
  'font-src \'self\' data:',
  'object-src \'none\'',
  'base-uri \'self\'',
  'form-action \'none\'',
].join('; ')

const securityPolicy: Plugin = {
  name: 'security-policy',
  apply: 'build',
  transformIndexHtml: () => [{ tag: 'meta', attrs: { 'http-equiv': 'Content-Security-Policy', 'content': POLICY }, injectTo: 'head-prepend' }],
}

// In Japanese, what follows a number or a Latin word within a phrase stays on its line: 1 行, UNet の.
const unbroken: Plugin = {
  name: 'unbroken',
  enforce: 'pre',
  transform(code, id) {
    if (language === 'ja' && id.startsWith(resolve('slides')))
      return { code: code.replace(/(?<=[\w)%$`*]|<\/\w+>) (?=[ぁ-ん])|(?<=\d) (?=[一-龠ァ-ヶ])/g, '\u00A0'), map: null }
  },
}

// Noto Sans JP comes in 120 pieces; a deck is told only of those that have a letter of its own, or of its notebooks, which are read beside it
// (tools/read.py). It is the style sheet that would be long.
const pieces: Plugin = {
  name: 'pieces',
  enforce: 'pre',
  transform(css, id) {
    if (!/noto-sans-jp.*\.css/.test(id))
      return
    const pages = ['slides/pages/ja', 'notebooks/ja'].flatMap(folder => readdirSync(folder).map(page => `${folder}/${page}`))
    const text = ['slides.ja.md', 'slides/words/ja.json', ...pages].map(file => readFileSync(file, 'utf8')).join('')
    const letters = [...new Set(text)].map(letter => letter.codePointAt(0)!)
    const has = (ranges: string) => ranges.split(',').some((range) => {
      const [from, to = from] = range.trim().slice(2).split('-').map(hex => Number.parseInt(hex, 16))
      return letters.some(letter => from <= letter && letter <= to)
    })
    return { code: css.replace(/@font-face \{[^}]*unicode-range: ([^;}]*)[^}]*\}/g, (face, ranges) => (has(ranges) ? face : '')), map: null }
  },
}

// Search engines and readers are told of the other language; the link on every slide is slides/components/Language.vue.
const languages: Plugin = {
  name: 'languages',
  apply: 'build',
  transformIndexHtml: () => Object.entries({ en: shared, ja: below ? './' : './ja/' }).map(([hreflang, href]) =>
    ({ tag: 'link', attrs: { rel: 'alternate', hreflang, href }, injectTo: 'head' as const })),
}

// What the English deck has already is left out of the Japanese one, and asked for there. It comes last: licences.html has seen it.
const sharing: Plugin = {
  name: 'sharing',
  apply: () => below,
  generateBundle: {
    order: 'post',
    handler(_, bundle) {
      for (const file of Object.keys(bundle).filter(file => LARGE.test(file)))
        delete bundle[file]
    },
  },
}

const renderBuiltUrl: RenderBuiltAssetUrl = (file, { type, hostId, hostType }) => {
  if (type !== 'public' && !LARGE.test(file))
    return
  const path = posix.relative(posix.dirname(hostId), shared + file)
  return hostType === 'js' ? { runtime: `new URL(${JSON.stringify(path)}, import.meta.url).href` } : path
}

// Who has no JavaScript is led to the page without any: tools/read.py.
const words = JSON.parse(readFileSync(`slides/words/${language}.json`, 'utf8'))
const toRead: Plugin = {
  name: 'to-read',
  apply: 'build',
  transformIndexHtml: () => [{ tag: 'noscript', children: `<p><a href="./read.html">${words['read.deck']}</a></p>`, injectTo: 'body-prepend' }],
}

// One for both languages, beside the English index.html, because a service worker is responsible for what lies below it.
// Its version is that of all the files: the build that comes last knows them.
const serviceWorker: Plugin = {
  name: 'service-worker',
  apply: 'build',
  writeBundle({ dir }) {
    const site = resolve(dir!, shared)
    const files = (readdirSync(site, { recursive: true }) as string[]).filter(file => file !== 'sw.js').sort()
    const version = createHash('sha256').update(files.join()).digest('hex').slice(0, 16)
    writeFileSync(resolve(site, 'sw.js'), readFileSync('slides/sw.js', 'utf8').replaceAll('VERSION', version))
  },
}

// `make slides`: a slide is shown anew when a file changes that it shows. Slidev itself forgets them when a page is saved.
const editing: Plugin = {
  name: 'editing',
  apply: 'serve',
  enforce: 'pre',
  transform(page, id) {
    if (/__slidev_\d+\.md$/.test(id))
      for (const [, path] of page.matchAll(/^<<< @\/([^#\s]+)/gm))
        this.addWatchFile(resolve(path))
  },
  // At every load Vite advises against importing from public/, as slides/components/made.ts does.
  configureServer({ config: { logger } }) {
    const { warn } = logger
    logger.warn = (text, options) => text.includes('cannot be imported from JavaScript') || warn(text, options)
  },
}

// With these the model may use several threads. tools/serve.py sends them too; a host that does not leaves it one.
const isolation = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' }

export default defineConfig({
  define: {
    __LANGUAGE__: JSON.stringify(language),
    __SHARED__: JSON.stringify(shared),
    __COMMIT__: JSON.stringify(commit()),
    __REGIONS__: JSON.stringify(regions()),
    __ORT__: JSON.stringify(RUNTIMES),
    __PYODIDE__: JSON.stringify(pyodide),
  },
  plugins: [manifest, unbroken, pieces, securityPolicy, languages, toRead, python, serviceWorker, editing, licences.page(), sharing],
  // **「…」**です is bold: Markdown by itself wants a space before です.
  slidev: { markdown: { markdownSetup: (md) => { md.use(cjkFriendly) } } },
  server: { headers: isolation },
  preview: { headers: isolation },
  worker: { format: 'es', plugins: licences.worker },
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  experimental: below ? { renderBuiltUrl } : {},
  build: {
    copyPublicDir: !below,
    emptyOutDir: !below, // figures in Japanese came there with public/, when English was built
    // Slidev's own chunks make every slide load every highlighter language. Name one chunk and leave the rest to the bundler.
    rollupOptions: { output: { manualChunks: id => (/node_modules\/(@vue\/|vue\/|vue-router\/)/.test(id) ? 'modules/vue' : undefined) } },
    chunkSizeWarningLimit: 1500,
  },
})
