// The source as the slides show it: a region without the markers of regions within it, moved to the left.
const files = import.meta.glob('/src/sdscope/*.py', { query: '?raw', import: 'default' }) as Record<string, () => Promise<string>>

/** 'pipeline.py#denoise' -> its lines */
export async function original(block: string) {
  const [file, region] = block.split('#')
  const lines = (await files[`/src/sdscope/${file}`]()).split('\n')
  const marker = (word: string) => lines.findIndex(line => line.trim() === `# ${word} ${region}`)
  const kept = lines.slice(marker('region') + 1, marker('endregion')).filter(line => !/^\s*# (?:end)?region\b/.test(line))
  const indent = Math.min(...kept.filter(line => line.trim()).map(line => line.search(/\S/)))
  return kept.map(line => line.slice(indent)).join('\n').trimEnd()
}
