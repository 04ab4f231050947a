// The runtime that can compute on the GPU too. Twice as large: fetched only where there is one.
export * as ort from 'onnxruntime-web/webgpu'
export { default as mjs } from 'onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url'
export { default as wasm } from 'onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url'
