// torch's generator for the CPU, so that a seed means the same latents here as in Python:
// MT19937 (Matsumoto and Nishimura, 1998) and, 16 numbers at a time, the method of Box and Muller,
// as in ATen/core/MT19937RNGEngine.h and aten/src/ATen/native/cpu/DistributionTemplates.h (normal_fill).

const N = 624
const M = 397

/** Like torch.Generator().manual_seed(seed): returns what draws the next 32 random bits. */
export function mt19937(seed: number): () => number {
  const state = new Uint32Array(N)
  state[0] = seed % 2 ** 32
  for (let i = 1; i < N; i++) {
    const before = state[i - 1] ^ (state[i - 1] >>> 30)
    state[i] = Math.imul(1812433253, before) + i
  }
  let at = N

  function twist() {
    for (let i = 0; i < N; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7FFFFFFF)
      state[i] = state[(i + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908B0DF : 0)
    }
    at = 0
  }

  return () => {
    if (at === N)
      twist()
    let y = state[at++]
    y ^= y >>> 11
    y ^= (y << 7) & 0x9D2C5680
    y ^= (y << 15) & 0xEFC60000
    y ^= y >>> 18
    return y >>> 0
  }
}

/** Like torch.Generator().manual_seed(seed): returns what draws the next torch.randn(size), of 16 numbers or more. */
export function generator(seed: number): (size: number) => Float32Array {
  const next = mt19937(seed)
  const uniform = () => (next() & 0xFFFFFF) / 2 ** 24 // as many bits as a float32 holds
  return (size) => {
    const x = Float32Array.from({ length: size }, uniform)
    for (let i = 0; i + 16 <= size; i += 16)
      boxMuller(x.subarray(i, i + 16))
    if (size % 16) { // the last 16 are drawn anew and overlap those before
      const last = x.subarray(size - 16)
      last.set(Float32Array.from({ length: 16 }, uniform))
      boxMuller(last)
    }
    return x
  }
}

/** Its first draw. */
export const randn = (size: number, seed: number) => generator(seed)(size)

/** In place: 8 pairs of uniform numbers, one of each pair 8 places after the other, become 16 normal ones. */
function boxMuller(x: Float32Array) {
  for (let j = 0; j < 8; j++) {
    const radius = Math.sqrt(-2 * Math.log(1 - x[j]))
    const angle = 2 * Math.PI * x[j + 8]
    x[j] = radius * Math.cos(angle)
    x[j + 8] = radius * Math.sin(angle)
  }
}
