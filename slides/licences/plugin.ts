// licences.html beside the built deck: whose works it ships, and under which licences. Found in what the bundler puts
// together, in the page and in its workers; nobody has to keep a list.

import { readFileSync, readdirSync } from 'node:fs'
import type { Plugin } from 'vite'

interface Work { name: string, version: string, licence: string, from: string, text: string }

const LICENCE = /^(?:licen[cs]e|copying|notice)/i
const own = () => readFileSync('LICENSE', 'utf8')
const mit = (holder: string) => `MIT License\n\nCopyright (c) ${holder}\n\n${own().match(/Permission is hereby granted[^]*?IN THE\nSOFTWARE\./)![0]}`
const text = (name: string) => readFileSync(`slides/licences/${name}.txt`, 'utf8')
// Packages that come without the text of their licence
const MISSING: Record<string, () => string> = {
  'onnxruntime-web': () => mit('2018 - present Microsoft Corporation'),
  'pyodide': () => text('mpl-2.0'),
}
// Works that lie in others
const INSIDE: Record<string, (version: string) => Omit<Work, 'version'>[]> = {
  'onnxruntime-web': version => [{
    name: 'what ONNX Runtime is built from',
    licence: 'MIT AND Apache-2.0 AND BSD-3-Clause AND MPL-2.0',
    from: `https://github.com/microsoft/onnxruntime/blob/v${version}/ThirdPartyNotices.txt`,
    text: '', // 300 kB
  }],
  'pyodide': () => [{
    name: 'CPython and its standard library, in Pyodide',
    licence: 'PSF-2.0',
    from: 'https://docs.python.org/3/license.html',
    text: text('cpython'),
  }, {
    name: 'Emscripten, in Pyodide and in ONNX Runtime',
    licence: 'MIT',
    from: 'https://github.com/emscripten-core/emscripten',
    text: mit('2010-2014 Emscripten authors, see AUTHORS file'),
  }],
}

/** The folder of the package that a file is of: /…/node_modules/@scope/name */
const packageOf = (file: string) => file.match(/^(?:[^\0]*\/)?node_modules\/(?:@[^/]+\/)?[^./][^/]*(?=\/)/)?.[0]

/** What a package says of itself, and the works in it */
function worksOf(folder: string): Work[] {
  const { name, version, license, repository, homepage, author } = JSON.parse(readFileSync(`${folder}/package.json`, 'utf8'))
  const texts = readdirSync(folder).filter(file => LICENCE.test(file)).sort().map(file => readFileSync(`${folder}/${file}`, 'utf8').trim())
  if (!texts.length && MISSING[name])
    texts.push(MISSING[name]())
  else if (!texts.length && license === 'Apache-2.0')
    texts.push(text('apache-2.0'))
  else if (!texts.length && license === 'MIT')
    texts.push(mit(author?.name ?? author ?? `the authors of ${name}`))
  const from = homepage ?? (repository?.url ?? repository ?? '').replace(/^git\+/, '').replace(/\.git$/, '')
  const inside = INSIDE[name]?.(version).map(work => ({ version: '', ...work })) ?? []
  return [{ name, version, licence: license ?? '', from, text: texts.join('\n\n') }, ...inside]
}

/** Files of the sets of icons that UnoCSS has drawn into a style sheet */
function iconsIn(css: string) {
  const drawn = (set: string) => css.includes(`.i-${set}\\:`) || css.includes(`.i-${set}-`)
  return readdirSync('node_modules/@iconify-json').filter(drawn).map(set => `node_modules/@iconify-json/${set}/icons.json`)
}

const escaped = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
const link = ({ from, name }: Work) => /^https?:/.test(from) ? `<a href="${encodeURI(from)}">${escaped(name)}</a>` : escaped(name)

function render(works: Work[], language: string) {
  const words = JSON.parse(readFileSync(`slides/words/${language}.json`, 'utf8')) as typeof import('../words/en.json')
  const says = words['licences.says'].replace('{deck}', `<a href="./">${words['licences.deck']}</a>`)
  const row = (work: Work) => `<tr><td>${link(work)}</td><td>${work.version}</td><td>${escaped(work.licence)}</td></tr>`
  const section = (work: Work) => `<h2>${escaped(`${work.name} ${work.version}`)}</h2>\n<pre>${escaped(work.text)}</pre>`
  return `<!doctype html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${words['licences.title']}</title>
<style>
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color: #22303c; background: #fbfaf7; }
td { padding: 0 1.5rem 0 0; overflow-wrap: anywhere; }
h2 { margin-top: 3rem; font-size: 1.1rem; }
pre { white-space: pre-wrap; font-size: 13px; }
</style>
</head>
<body>
<h1>${words['licences.title']}</h1>
<p>${says}</p>
<table>
<tbody>
${works.map(row).join('\n')}
</tbody>
</table>
<h2>Understand Stable Diffusion from Code</h2>
<pre>${escaped(own())}</pre>
${works.filter(work => work.text).map(section).join('\n')}
</body>
</html>
`
}

/** Plugins for the page and for each worker: what they put together is known when the page's last one writes. */
export function makeLicences() {
  const packages = new Set<string>()
  const add = (file: string) => {
    const folder = packageOf(file)
    if (folder)
      packages.add(folder.slice(folder.indexOf('node_modules/')))
  }

  const collecting = (name: string): Plugin => ({
    name,
    apply: 'build',
    renderChunk(_, { moduleIds }) {
      moduleIds.forEach(add)
    },
    generateBundle: {
      order: 'post',
      handler(_, bundle) {
        for (const file of Object.values(bundle)) {
          if (file.type === 'chunk')
            continue
          file.originalFileNames.forEach(add) // fonts, WebAssembly
          if (file.fileName.endsWith('.css'))
            iconsIn(file.source.toString()).forEach(add)
        }
      },
    },
  })

  let language = ''
  const page: Plugin = {
    name: 'licences-page',
    apply: 'build',
    configResolved({ define }) {
      language = JSON.parse(define!.__LANGUAGE__)
    },
    generateBundle: {
      order: 'post',
      handler() {
        const works = [...packages].sort().flatMap(worksOf)
        this.emitFile({ type: 'asset', fileName: 'licences.html', source: render(works, language) })
      },
    },
  }
  return { page: () => [collecting('licences'), page], worker: () => [collecting('licences-of-worker')] }
}
