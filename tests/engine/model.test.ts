import { expect, test } from 'vitest'
import { isWebKit } from '../../slides/engine/model'

const WEBKIT = 'AppleWebKit/605.1.15 (KHTML, like Gecko)'
const BLINK = 'AppleWebKit/537.36 (KHTML, like Gecko)'

test.each([
  [true, 'Safari', `Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) ${WEBKIT} Version/26.2 Safari/605.1.15`],
  [true, 'Chrome on iOS', `Mozilla/5.0 (iPhone; CPU iPhone OS 26_2 like Mac OS X) ${WEBKIT} CriOS/145.0.7632.41 Mobile/15E148 Safari/604.1`],
  [true, 'Firefox on iOS', `Mozilla/5.0 (iPhone; CPU iPhone OS 26_2 like Mac OS X) ${WEBKIT} FxiOS/147.0 Mobile/15E148 Safari/605.1.15`],
  [true, 'WebKitGTK', `Mozilla/5.0 (X11; Linux x86_64) ${WEBKIT} Version/26.2 Safari/605.1.15`],
  [false, 'Chrome', `Mozilla/5.0 (X11; Linux x86_64) ${BLINK} Chrome/145.0.0.0 Safari/537.36`],
  [false, 'Chrome without a window', `Mozilla/5.0 (X11; Linux x86_64) ${BLINK} HeadlessChrome/145.0.0.0 Safari/537.36`],
  [false, 'Edge', `Mozilla/5.0 (Windows NT 10.0; Win64; x64) ${BLINK} Chrome/145.0.0.0 Safari/537.36 Edg/145.0.0.0`],
  [false, 'Firefox', 'Mozilla/5.0 (X11; Linux x86_64; rv:147.0) Gecko/20100101 Firefox/147.0'],
])('%s: the GPU of %s is left alone', (left, _, userAgent) => {
  expect(isWebKit(userAgent)).toBe(left)
})
