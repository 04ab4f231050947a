import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { defineConfig } from 'vite'

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
  for (const file of readdirSync('src/sdscope').filter(name => name.endsWith('.py'))) {
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

export default defineConfig({
  define: { __COMMIT__: JSON.stringify(commit()), __REGIONS__: JSON.stringify(regions()) },
  build: {
    // Slidev's own chunks make every slide load every highlighter language. Name one chunk and leave the rest to the bundler.
    rollupOptions: { output: { manualChunks: id => (/node_modules\/(@vue\/|vue\/|vue-router\/)/.test(id) ? 'modules/vue' : undefined) } },
    chunkSizeWarningLimit: 1500,
  },
})
