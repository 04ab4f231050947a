// The networks, opened with onnxruntime-web. Only the worker loads this file.

import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-web'
import type { Device, Loaded, ModelInfo, Network, Tensor, Tokens } from './types'
import { sharesMemory } from './start'
import { readFile, readFiles, readInfo } from './store'
import { makeTokenizer } from './tokenizer'

type Ort = typeof import('onnxruntime-web')
type Part = Network['name']

const ENCODER = 'vae_encoder.onnx' // most readers never begin with a picture

export interface Model extends Loaded {
  tokenize: (text: string) => Tokens
  /** Token ids -> [77, D] */
  encode: (ids: number[]) => Promise<Tensor>
  /** Latents [4, h, w] at time t beside each of B embeddings -> every output of unet.onnx, [B, …] */
  unet: (latents: Tensor, t: number, embeds: Tensor[]) => Promise<Record<string, Tensor>>
  /** Latents [4, h, w] -> their picture, 8 times as high and wide */
  decode: (latents: Tensor) => Promise<ImageData>
  /** A picture -> what the VAE's encoder says of its latents [4, h, w]. The encoder is fetched when it is first asked. */
  posterior: (image: ImageData) => Promise<{ mean: Tensor, std: Tensor }>
  network: (asked: Network) => Promise<Tensor>
}

export interface Options {
  /** The address of public/model/, with a slash at its end. */
  base: string
  /** Where to compute. Without: on the GPU where there is one and it is faster. */
  device?: Device
  onProgress: (bytes: number, total: number) => void
}

/** EngineError, or whatever the runtime throws. */
export async function openModel({ base, device, onProgress }: Options): Promise<Model> {
  const info = await readInfo(`${base}model.json`)
  if (device !== 'wasm' && (device || await hasGpu())) {
    try {
      return await openOn('webgpu', info, base, onProgress, device === 'webgpu')
    }
    catch (error) {
      if (device)
        throw error
      console.warn('WebGPU is here but does not work; going on without it:', error)
    }
  }
  return openOn('wasm', info, base, onProgress, true)
}

/**
 * Safari, and every browser on iOS: there the runtime's WebGPU eats memory until the page is killed
 * (github.com/microsoft/onnxruntime/issues/26827, 27584).
 */
export const isWebKit = (userAgent: string) => /AppleWebKit/.test(userAgent) && !/Chrome\//.test(userAgent)

/** A real one, where it is known to work: not a GPU that the CPU plays. */
async function hasGpu() {
  if (isWebKit(navigator.userAgent))
    return false
  const adapter = await (navigator as any).gpu?.requestAdapter().catch(() => null)
  return adapter != null && !adapter.info.isFallbackAdapter
}

/** `only`: on this device and no other; otherwise where one call of the UNet is faster. */
async function openOn(device: Device, info: ModelInfo, base: string, onProgress: Options['onProgress'], only: boolean): Promise<Model> {
  const runtime = device === 'wasm' ? await import('./wasm') : await import('./webgpu')
  const { ort, ...files } = runtime
  const names = Object.keys(info.files).filter(name => name !== ENCODER)
  const file = (name: string) => ({ url: `${base}${name}`, ...info.files[name] })
  const wasmFile = { url: new URL(files.wasm, self.origin).href, ...__ORT__[device] }
  const [wasm, ...contents] = await readFiles(base, [wasmFile, ...names.map(file)], [file(ENCODER)], onProgress)
  const content = (name: string) => contents[names.indexOf(name)]

  const threads = sharesMemory() ? Math.min(4, navigator.hardwareConcurrency) : 1
  ort.env.logLevel = 'error'
  Object.assign(ort.env.wasm, { wasmBinary: wasm, wasmPaths: { mjs: files.mjs }, numThreads: threads })
  const openGraph = (graph: ArrayBuffer, device: Device) =>
    ort.InferenceSession.create(new Uint8Array(graph), { executionProviders: [device], logSeverityLevel: 3 })
  const open = (part: Part, device: Device) => openGraph(content(`${part}.onnx`), device)

  let unet = await open('unet', device)
  if (!only) {
    const other = await open('unet', 'wasm')
    const faster = await secondsOf(ort, unet, info) < await secondsOf(ort, other, info)
    const slower = faster ? other : unet
    await slower.release()
    if (!faster)
      [unet, device] = [other, 'wasm']
  }
  const tokenize = makeTokenizer(JSON.parse(new TextDecoder().decode(content('tokenizer.json'))), info.tokens)
  const networks = { unet, text_encoder: await open('text_encoder', device), vae_decoder: await open('vae_decoder', device) }
  let encoder: Promise<InferenceSession> | null = null
  const openEncoder = () => encoder ??= readFile(file(ENCODER)).then(graph => openGraph(graph, device)).catch((error) => {
    encoder = null // it may be tried again
    throw error
  })
  return { info, device, threads, tokenize, ...calls(ort, networks, openEncoder) }
}

/** The best of three calls of the UNet, after one to warm up. */
async function secondsOf(ort: Ort, unet: InferenceSession, info: ModelInfo) {
  const { latent_channels, size, factor, tokens, embedding_size } = info
  const zeros = (...dims: number[]) => ({ data: new Float32Array(dims.reduce((a, b) => a * b)), dims })
  const embeds = zeros(tokens.length, embedding_size)
  const times: number[] = []
  for (let i = 0; i < 4; i++) {
    const start = performance.now()
    await callUnet(ort, unet, zeros(latent_channels, size / factor, size / factor), 1, [embeds, embeds])
    times.push(performance.now() - start)
  }
  return Math.min(...times.slice(1)) / 1000
}

function calls(ort: Ort, networks: Record<Part, InferenceSession>, openEncoder: () => Promise<InferenceSession>) {
  const unet: Model['unet'] = (latents, t, embeds) => callUnet(ort, networks.unet, latents, t, embeds)

  async function encode(ids: number[]): Promise<Tensor> {
    const { prompt_embeds } = await networks.text_encoder.run({ input_ids: new ort.Tensor('int32', Int32Array.from(ids), [1, ids.length]) })
    return { data: prompt_embeds.data as Float32Array, dims: prompt_embeds.dims.slice(1) }
  }

  async function decode(latents: Tensor): Promise<ImageData> {
    const { image } = await networks.vae_decoder.run({ latents: new ort.Tensor('float32', latents.data, [1, ...latents.dims]) }, ['image'])
    const [, height, width] = image.dims
    return new ImageData(Uint8ClampedArray.from(image.data as Uint8Array), width, height)
  }

  async function posterior({ data, width, height }: ImageData) {
    const encoder = await openEncoder()
    const { mean, std } = await encoder.run({ image: new ort.Tensor('uint8', Uint8Array.from(data), [1, height, width, 4]) })
    const [, ...dims] = mean.dims
    return { mean: { data: mean.data as Float32Array, dims }, std: { data: std.data as Float32Array, dims } }
  }

  async function network({ name, inputs, output }: Network): Promise<Tensor> {
    const feeds = Object.entries(inputs).map(([name, { data, dims }]) =>
      [name, data instanceof Int32Array ? new ort.Tensor('int32', data, dims) : new ort.Tensor('float32', data, dims)])
    const found = (await networks[name].run(Object.fromEntries(feeds), [output]))[output]
    return { data: found.data as Float32Array, dims: [...found.dims] }
  }

  return { unet, encode, decode, posterior, network }
}

async function callUnet(ort: Ort, session: InferenceSession, latents: Tensor, t: number, embeds: Tensor[]) {
  const stack = (parts: Tensor[]) => {
    const data = new Float32Array(parts.length * parts[0].data.length)
    parts.forEach((part, i) => data.set(part.data, i * part.data.length))
    return new ort.Tensor('float32', data, [parts.length, ...parts[0].dims])
  }
  const outputs = await session.run({
    sample: stack(embeds.map(() => latents)),
    timestep: new ort.Tensor('float32', new Float32Array(embeds.length).fill(t), [embeds.length]),
    encoder_hidden_states: stack(embeds),
  })
  return Object.fromEntries(Object.entries(outputs).map(([name, output]: [string, OrtTensor]) =>
    [name, { data: output.data as Float32Array, dims: [...output.dims] }]))
}
