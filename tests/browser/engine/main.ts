// The engine within reach of the test: it is opened there, from outside, as often as needed.
import { openEngine } from '../../../slides/engine/engine'

Object.assign(window, { openEngine })
