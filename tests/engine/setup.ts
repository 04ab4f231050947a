import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const FOLDER = '.build/engine'

/** Before the first test: what Python says. */
export default () => execFileSync('.venv/bin/python', ['tests/engine/fixtures.py', FOLDER], { stdio: 'inherit' })

export const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8'))
export const said = (name: string) => readJson(`${FOLDER}/${name}.json`)
