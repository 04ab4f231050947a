// The runtime that computes on the CPU. Its threads need the address of the .mjs: without it they wait for ever.
export * as ort from 'onnxruntime-web/wasm'
export { default as mjs } from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url'
export { default as wasm } from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url'
