// Zero-width spaces between the phrases of Japanese text, now and whenever there is more of it. The nodes stay those that
// Vue knows, and it writes over the spaces as over any text.
import { loadDefaultJapaneseParser } from 'budoux'

const SPACE = '\u200B'
const JAPANESE = /[\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Han}]/u
const AS_IT_IS = 'pre, code, svg, script, style, textarea, [contenteditable], .katex'
const parser = loadDefaultJapaneseParser()

function separate(text: Node) {
  const words = text.nodeValue!
  if (!JAPANESE.test(words) || words.includes(SPACE) || text.parentElement?.closest(AS_IT_IS))
    return
  const ends = parser.parseBoundaries(words.replaceAll('\u00A0', ' '))
  if (ends.length)
    text.nodeValue = ends.reduceRight((whole, end) => whole.slice(0, end) + SPACE + whole.slice(end), words)
}

function separateIn(node: Node) {
  const texts = document.createTreeWalker(node, NodeFilter.SHOW_TEXT)
  for (let text: Node | null = node.nodeType === Node.TEXT_NODE ? node : texts.nextNode(); text; text = texts.nextNode())
    separate(text)
}

export function separatePhrases(root: Element) {
  separateIn(root)
  new MutationObserver(changes => changes.forEach(({ type, target, addedNodes }) =>
    type === 'characterData' ? separate(target) : addedNodes.forEach(separateIn),
  )).observe(root, { subtree: true, childList: true, characterData: true })
}
