// From vite.config.ts: the runtimes' own files, so that they are checked and counted like the model's.
declare const __PYODIDE__: { folder: string, bytes: number, info: Record<string, string> }
declare const __ORT__: Record<'wasm' | 'webgpu', { bytes: number, sha256: string }>
