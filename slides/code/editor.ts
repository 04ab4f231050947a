// The editor: Python as the slides show it, with what was changed marked and an error told below its line.
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands'
import { python } from '@codemirror/lang-python'
import { HighlightStyle, bracketMatching, indentOnInput, indentUnit, syntaxHighlighting } from '@codemirror/language'
import { Chunk } from '@codemirror/merge'
import type { Extension, Text } from '@codemirror/state'
import { Annotation, EditorState, StateEffect, StateField } from '@codemirror/state'
import type { DecorationSet, ViewUpdate } from '@codemirror/view'
import { Decoration, EditorView, ViewPlugin, WidgetType, keymap } from '@codemirror/view'
import { tags } from '@lezer/highlight'

const LONGEST = 20_000 // letters; no block has 2,000

// The colours of github-light-default, as on the slides.
const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operator], color: '#cf222e' },
  { tag: tags.derefOperator, color: 'inherit' },
  { tag: [tags.function(tags.definition(tags.variableName)), tags.meta], color: '#8250df' },
  { tag: [tags.number, tags.bool, tags.null, tags.self], color: '#0550ae' },
  { tag: [tags.string, tags.special(tags.string)], color: '#0a3069' },
  { tag: tags.comment, color: '#59636e' },
  { tag: tags.className, color: '#953800' },
])

// ------------------------------------------------------------------ what was changed
const setOriginal = StateEffect.define<Text>()
const originalText = StateField.define<Text | null>({
  create: () => null,
  update: (text, { effects }) => effects.reduce((text, effect) => (effect.is(setOriginal) ? effect.value : text), text),
})
const changed = Decoration.line({ class: 'cm-changed' })
const gone = Decoration.line({ class: 'cm-gone' }) // before this line there was something

const changes = EditorView.decorations.compute(['doc', originalText], (state) => {
  const original = state.field(originalText)
  if (!original)
    return Decoration.none
  const marks = Chunk.build(original, state.doc).flatMap(({ fromB, toB }) => {
    const first = state.doc.lineAt(Math.min(fromB, state.doc.length))
    if (fromB === toB)
      return [gone.range(first.from)]
    const count = state.doc.lineAt(Math.min(toB - 1, state.doc.length)).number - first.number + 1
    return Array.from({ length: count }, (_, i) => changed.range(state.doc.line(first.number + i).from))
  })
  return Decoration.set(marks)
})

// ------------------------------------------------------------------ an error, below its line
class Told extends WidgetType {
  constructor(readonly message: string) { super() }
  eq(other: Told) { return other.message === this.message }
  toDOM() {
    return Object.assign(document.createElement('div'), { className: 'cm-told', textContent: this.message })
  }
}

const setFailure = StateEffect.define<{ message: string, line: number } | null>()
const failure = StateField.define<DecorationSet>({
  create: () => Decoration.none,
  update(marks, { effects, changes, docChanged, newDoc }) {
    for (const effect of effects.filter(effect => effect.is(setFailure))) {
      if (!effect.value)
        return Decoration.none
      const line = newDoc.line(Math.min(Math.max(effect.value.line, 1), newDoc.lines))
      return Decoration.set([
        Decoration.line({ class: 'cm-wrong' }).range(line.from),
        Decoration.widget({ widget: new Told(effect.value.message), block: true, side: 1 }).range(line.to),
      ], true)
    }
    return docChanged ? Decoration.none : marks.map(changes) // who goes on typing has read it
  },
  provide: field => EditorView.decorations.from(field),
})

// ------------------------------------------------------------------ long lines go on below, further right
function hanging(view: EditorView) {
  const marks = view.visibleRanges.flatMap(({ from, to }) => {
    const [first, last] = [view.state.doc.lineAt(from).number, view.state.doc.lineAt(to).number]
    return Array.from({ length: last - first + 1 }, (_, i) => view.state.doc.line(first + i)).map((line) => {
      const indent = Math.max(line.text.search(/\S/), 0) + 4
      return Decoration.line({ attributes: { style: `--indent: ${indent}` } }).range(line.from)
    })
  })
  return Decoration.set(marks)
}

const hangingLines = ViewPlugin.fromClass(class {
  marks: DecorationSet
  constructor(view: EditorView) { this.marks = hanging(view) }
  update({ docChanged, viewportChanged, view }: ViewUpdate) {
    if (docChanged || viewportChanged)
      this.marks = hanging(view)
  }
}, { decorations: plugin => plugin.marks })

// ------------------------------------------------------------------ the whole
const fromOutside = Annotation.define<boolean>()

export interface Editor {
  /** Another text, its original, and with them an empty history. */
  open: (text: string, original: string, label: string) => void
  /** The text as another window has it. */
  setText: (text: string) => void
  setFailure: (failure: { message: string, line: number } | null) => void
  /** To the first line that was changed. */
  reveal: () => void
  focus: () => void
  close: () => void
}

export function makeEditor(parent: HTMLElement, { onChange, onTooLong }: { onChange: (text: string) => void, onTooLong: (most: number) => void }): Editor {
  const always: Extension[] = [
    history(), indentOnInput(), bracketMatching(), python(), syntaxHighlighting(colours), indentUnit.of('    '), EditorView.lineWrapping,
    originalText, changes, failure, hangingLines,
    keymap.of([indentWithTab, ...defaultKeymap, ...historyKeymap]),
    EditorState.changeFilter.of(({ newDoc }) => newDoc.length <= LONGEST || (onTooLong(LONGEST), false)),
    EditorView.updateListener.of((update) => {
      if (update.docChanged && !update.transactions.some(transaction => transaction.annotation(fromOutside)))
        onChange(update.state.doc.toString())
    }),
  ]
  const view = new EditorView({ parent })

  return {
    open(text, original, label) {
      const attributes = EditorView.contentAttributes.of({ 'aria-label': label, 'tabindex': '0', 'spellcheck': 'false', 'autocorrect': 'off', 'autocapitalize': 'off' })
      view.setState(EditorState.create({ doc: text, extensions: [always, attributes] }))
      view.dispatch({ effects: setOriginal.of(EditorState.create({ doc: original }).doc) })
    },
    setText(text) {
      if (text !== view.state.doc.toString())
        view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, annotations: fromOutside.of(true) })
    },
    setFailure(failure) {
      view.dispatch({ effects: setFailure.of(failure) })
    },
    reveal() {
      const original = view.state.field(originalText)
      const [first] = original ? Chunk.build(original, view.state.doc) : []
      if (first)
        view.dispatch({ selection: { anchor: Math.min(first.fromB, view.state.doc.length) }, effects: EditorView.scrollIntoView(Math.min(first.fromB, view.state.doc.length), { y: 'center' }) })
    },
    focus: () => view.focus(),
    close: () => view.destroy(),
  }
}
