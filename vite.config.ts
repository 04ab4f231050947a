import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Plugin } from 'vite'
import { defineConfig } from 'vite'
import { makeLicences } from './slides/licences/plugin'

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

const licences = makeLicences()

const RUNTIMES = { wasm: runtime('ort-wasm-simd-threaded'), webgpu: runtime('ort-wasm-simd-threaded.asyncify') }

// The language of the deck that is built, slides.ja.md: its components speak it (slides/words/).
const language = process.argv.join(' ').match(/slides\.(\w+)\.md/)?.[1] ?? 'en'

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

// Beside index.html, because a service worker is responsible for what lies below it. Its version is that of all the files.
const serviceWorker: Plugin = {
  name: 'service-worker',
  apply: 'build',
  generateBundle(_, bundle) {
    const version = createHash('sha256').update(Object.keys(bundle).sort().join()).digest('hex').slice(0, 16)
    this.emitFile({ type: 'asset', fileName: 'sw.js', source: readFileSync('slides/sw.js', 'utf8').replaceAll('VERSION', version) })
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
  define: { __LANGUAGE__: JSON.stringify(language), __COMMIT__: JSON.stringify(commit()), __REGIONS__: JSON.stringify(regions()), __ORT__: JSON.stringify(RUNTIMES), __PYODIDE__: JSON.stringify(pyodide) },
  plugins: [securityPolicy, python, serviceWorker, editing, licences.page()],
  server: { headers: isolation },
  preview: { headers: isolation },
  worker: { format: 'es', plugins: licences.worker },
  optimizeDeps: { exclude: ['onnxruntime-web'] },
  build: {
    // Slidev's own chunks make every slide load every highlighter language. Name one chunk and leave the rest to the bundler.
    rollupOptions: { output: { manualChunks: id => (/node_modules\/(@vue\/|vue\/|vue-router\/)/.test(id) ? 'modules/vue' : undefined) } },
    chunkSizeWarningLimit: 1500,
  },
})
