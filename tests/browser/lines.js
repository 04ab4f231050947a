// Where lines of Japanese text begin that should not: with what ends a phrase, or with a particle. As a list of sentences.
() => {
  const PARTICLE = /^(?:は|が|を|に|で|と|も|の|へ|や|から|まで|より)(?=[、。\s\p{sc=Han}\p{scx=Katakana}\w「(]|$)/u
  const CLOSING = /^[、。，．・：；？！」』）】〕〉》ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ々)\]:]/u
  const shown = document.querySelector('#slide-content') ?? document.body
  const blockOf = e => getComputedStyle(e).display === 'inline' ? blockOf(e.parentElement) : e
  const wrong = []

  // The text of each block, letter by letter, with where it stands
  const blocks = new Map()
  const nodes = document.createTreeWalker(shown, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT)
  for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
    const e = node.parentElement
    if (node.nodeName === 'BR')
      blocks.set(blockOf(e), []) // who breaks a line there means it
    if (node.nodeType !== Node.TEXT_NODE || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || e.closest('pre, svg, .katex, .visually-hidden'))
      continue
    const block = blockOf(e), before = blocks.get(block) ?? []
    blocks.set(block, before)
    for (let i = 0; i < node.length; i++) {
      const range = document.createRange()
      range.setStart(node, i)
      range.setEnd(node, i + 1)
      const box = range.getClientRects()[0]
      if (!box?.width)
        continue
      const last = before.at(-1)
      if (last && box.left < last.box.left && box.top > last.box.top + last.box.height / 2) {
        const line = node.data.slice(i), word = before.findLast(({ letter }) => letter.trim())
        if (CLOSING.test(line) || (PARTICLE.test(line) && /[^\p{P}]/u.test(word?.letter)))
          wrong.push(`a line begins with "${line.slice(0, 12)}"`)
      }
      before.push({ letter: node.data[i], box })
    }
  }
  return wrong
}
