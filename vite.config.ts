import { defineConfig } from 'vite'

export default defineConfig({
  build: {
    // Slidev's own chunks make every slide load every highlighter language. Name one chunk and leave the rest to the bundler.
    rollupOptions: { output: { manualChunks: id => (/node_modules\/(@vue\/|vue\/|vue-router\/)/.test(id) ? 'modules/vue' : undefined) } },
    chunkSizeWarningLimit: 1500,
  },
})
