// What is wrong with the slide as it stands, as a list of sentences; sizes are px of the canvas.
// The canvas fills the window (tools/deck.py), so a px on the screen is one of the canvas.
([width, height, smallest]) => {
  const slide = document.querySelector('#slide-content')
  const origin = slide.getBoundingClientRect()
  const wrong = new Set()

  const shown = e => e.checkVisibility({ opacityProperty: true, visibilityProperty: true })
    // For screen readers only, the MathML twin and the cut-off roots of a formula, and what a drawing only refers to.
    && !e.closest('.visually-hidden, .sr-only, .katex-mathml, .katex svg, defs, clipPath, mask, marker')
  const name = (e) => {
    const words = (e.getAttribute('alt') || e.textContent || '').trim().replace(/\s+/g, ' ').slice(0, 40)
    const classes = [...e.classList].slice(0, 3).map(c => `.${c}`).join('')
    return `<${e.tagName.toLowerCase()}${classes}>${words && ` "${words}"`}`
  }
  const block = e => name(e.closest('pre') || e) // code is one piece, not a hundred coloured ones
  // How much larger an element's text is drawn than its font size says: transforms, zoom, an svg's viewBox.
  const drawnScale = (e) => {
    if (e instanceof SVGElement && e.getScreenCTM)
      return Math.sqrt(Math.abs(e.getScreenCTM().a * e.getScreenCTM().d - e.getScreenCTM().b * e.getScreenCTM().c))
    let scale = 1
    for (let p = e; p !== slide; p = p.parentElement) {
      const style = getComputedStyle(p), m = new DOMMatrix(style.transform)
      const [x, y = x] = style.scale === 'none' ? [1] : style.scale.split(' ').map(Number)
      scale *= Math.sqrt(Math.abs((m.a * m.d - m.b * m.c) * x * y)) * Number(style.zoom)
    }
    return scale
  }

  const foot = [...slide.querySelectorAll('.foot i, .foot .page, .language')].filter(shown).map(e => e.getBoundingClientRect())
  const outside = new Set()
  const lines = [] // every line of text: its element and its box
  for (const e of slide.querySelectorAll('*')) {
    if (!shown(e)) continue
    const style = getComputedStyle(e)
    const { left, top, right, bottom } = e.getBoundingClientRect()
    const box = [left - origin.left, right - origin.left, top - origin.top, bottom - origin.top].map(Math.round)
    if (right > left && bottom > top && (box[0] < -1 || box[1] > width + 1 || box[2] < -1 || box[3] > height + 1)) {
      outside.add(e)
      if (!outside.has(e.parentElement)) // what is inside it leaves with it
        wrong.add(`${name(e)} leaves the slide: x ${box[0]}..${box[1]}, y ${box[2]}..${box[3]} of ${width} x ${height}`)
    }

    if (style.display !== 'inline' && !e.closest('svg, .katex')) {
      if (style.overflowY !== 'visible' && e.scrollHeight > e.clientHeight + 1)
        wrong.add(`${name(e)} is cut off or scrolls: ${e.scrollHeight} px high in ${e.clientHeight}`)
      if (style.overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1)
        wrong.add(`${name(e)} is cut off or scrolls: ${e.scrollWidth} px wide in ${e.clientWidth}`)
    }

    if (/^(IMG|PRE)$/.test(e.tagName) && foot.some(mark => left < mark.right - 1 && right > mark.left + 1 && top < mark.bottom - 1 && bottom > mark.top + 1))
      wrong.add(`${name(e)} lies over the foot`)

    if (e.tagName === 'IMG') {
      if (!e.alt.trim()) wrong.add(`${e.getAttribute('src')} has no alt text`)
      if (!e.naturalWidth) wrong.add(`${e.getAttribute('src')} did not load`)
    }

    const texts = [...e.childNodes].filter(n => n.nodeType === Node.TEXT_NODE && n.textContent.trim())
    if (texts.length && !e.closest('.katex')) {
      const size = Number.parseFloat(style.fontSize) * drawnScale(e)
      if (size < smallest - 0.05 && !e.closest('[aria-hidden=true]')) wrong.add(`${block(e)} is ${size.toFixed(1)} px, smaller than ${smallest}`)
      if (!e.closest('code') && texts.some(text => text.data.includes('**')))
        wrong.add(`${name(e)} shows the stars of bold text`)
      for (const text of e.closest('textPath') ? [] : texts) { // text on a curve fills no box
        const range = document.createRange()
        range.selectNodeContents(text)
        lines.push(...[...range.getClientRects()].map(box => ({ e, box })))
      }
    }
  }

  // Text drawn over text. Boxes of lines are taller than the letters: a little overlap is none.
  lines.forEach((a, i) => lines.slice(i + 1).forEach((b) => {
    const across = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left)
    const down = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top)
    if (a.e !== b.e && across > 2 && down > 0.4 * Math.min(a.box.height, b.box.height))
      wrong.add(`${block(a.e)} and ${block(b.e)} lie over each other`)
  }))
  return [...wrong]
}
