// Formulas and drawings as HTML, for pages without a script: a list of { formula, display } or { component } comes in,
// with the deck's language, and the way from its folder to what it shares with the other one (slides/scope.ts);
// { html: [...], css } goes out. Drawings are the deck's own components, rendered once, with everything lit.
import { stdin, stdout } from 'node:process'
import { text } from 'node:stream/consumers'
import vue from '@vitejs/plugin-vue'
import katex from 'katex'
import { createServer } from 'vite'
import { createSSRApp } from 'vue'
import { renderToString } from 'vue/server-renderer'

const [language, shared] = process.argv.slice(2)
const ALL_LIT = 99 // clicks, more than any drawing has
const DECK = 'http://deck/' // where a page without a browser lies; the pages to read lie in its place, or below

const server = await createServer({
  configFile: false,
  cacheDir: '.build/vite',
  logLevel: 'error',
  appType: 'custom',
  plugins: [vue()],
  define: { '__LANGUAGE__': JSON.stringify(language), '__SHARED__': '"./"', 'document.baseURI': JSON.stringify(DECK) },
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
})

const loaded = new Map() // name: { component, css }
async function load(name) {
  if (!loaded.has(name)) {
    const url = `/slides/components/${name}.vue`
    const component = (await server.ssrLoadModule(url)).default
    const { importedModules } = await server.environments.ssr.moduleGraph.getModuleByUrl(url)
    const styles = [...importedModules].map(module => module.url).filter(style => style.includes('type=style'))
    const css = await Promise.all(styles.map(async style => (await server.ssrLoadModule(style.replace('&lang', '&inline&lang'))).default))
    loaded.set(name, { component, css: css.join('') })
  }
  return loaded.get(name).component
}

async function draw(template, number) {
  const [app, wrong] = [createSSRApp({ template }), []]
  app.config.idPrefix = `d${number}`
  app.config.globalProperties.$clicks = ALL_LIT
  app.config.warnHandler = message => wrong.push(message)
  for (const name of [template.match(/[A-Z]\w+/)[0], 'Frame', 'Tip'])
    app.component(name, await load(name))
  const drawn = await renderToString(app)
  if (wrong.length)
    throw new Error(`${template} cannot be drawn without a browser: ${wrong.join(' ')}\nName a still for it: tools/reading/deck.py`)
  return drawn.replaceAll(DECK, shared)
}

const html = []
for (const { formula, display, component } of JSON.parse(await text(stdin)))
  html.push(component ? await draw(component, html.length) : katex.renderToString(formula, { displayMode: display, strict: 'error' }))
await server.close()
stdout.write(JSON.stringify({ html, css: [...loaded.values()].map(({ css }) => css).join('') }))
