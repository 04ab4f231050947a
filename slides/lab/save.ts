// The picture as PNG, the run as an animation; nothing leaves the page but into the reader's own folder.
const LARGER = 2 // a picture of 256 px is small on a screen

function download(blob: Blob, name: string) {
  const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(blob), download: name })
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000)
}

export function savePicture(image: ImageData, name: string) {
  const from = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height })
  from.getContext('2d')!.putImageData(image, 0, 0)
  const to = Object.assign(document.createElement('canvas'), { width: LARGER * image.width, height: LARGER * image.height })
  const context = to.getContext('2d')!
  context.imageSmoothingQuality = 'high'
  context.drawImage(from, 0, 0, to.width, to.height)
  to.toBlob(blob => blob && download(blob, `${name}.png`))
}

/** A GIF, which every program opens, as large as it was painted; the last picture stays for two seconds. */
export async function saveAnimation(images: ImageData[], name: string) {
  const { GIFEncoder, applyPalette, quantize } = await import('gifenc')
  const gif = GIFEncoder()
  for (const [i, { data, width, height }] of images.entries()) {
    const palette = quantize(data, 256)
    gif.writeFrame(applyPalette(data, palette), width, height, { palette, delay: i === images.length - 1 ? 2000 : 120 })
  }
  gif.finish()
  download(new Blob([gif.bytes()], { type: 'image/gif' }), `${name}.gif`)
}
