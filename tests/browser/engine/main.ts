// The engine within reach of the test, and the words for its errors: it is opened there, from outside, as often as needed.
import { openEngine } from '../../../slides/engine/engine'
import { told } from '../../../slides/words'

Object.assign(window, { openEngine, told })
