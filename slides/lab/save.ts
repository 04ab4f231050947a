// The picture as PNG, the run as an animation; nothing leaves the page but into the reader's own folder.
const LARGER = 3 // a picture of 128 px is small on a screen

function drawn(image: ImageData) {
  const from = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height })
  from.getContext('2d')!.putImageData(image, 0, 0)
  const to = Object.assign(document.createElement('canvas'), { width: LARGER * image.width, height: LARGER * image.height })
  const context = to.getContext('2d', { willReadFrequently: true })!
  context.imageSmoothingQuality = 'high'
  context.drawImage(from, 0, 0, to.width, to.height)
  return to
}

function download(blob: Blob, name: string) {
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name })
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

export const savePicture = (image: ImageData, name: string) => drawn(image).toBlob(blob => blob && download(blob, `${name}.png`))

/** A GIF, which every program opens; the last picture stays for two seconds. */
export async function saveAnimation(images: ImageData[], name: string) {
  const { GIFEncoder, applyPalette, quantize } = await import('gifenc')
  const gif = GIFEncoder()
  for (const [i, image] of images.entries()) {
    const canvas = drawn(image)
    const { data, width, height } = canvas.getContext('2d')!.getImageData(0, 0, canvas.width, canvas.height)
    const palette = quantize(data, 256)
    gif.writeFrame(applyPalette(data, palette), width, height, { palette, delay: i === images.length - 1 ? 2000 : 120 })
  }
  gif.finish()
  download(new Blob([gif.bytes()], { type: 'image/gif' }), `${name}.gif`)
}
