import { defineConfig } from 'vitest/config'

export default defineConfig({ test: { include: ['tests/engine/*.test.ts'], globalSetup: 'tests/engine/setup.ts', testTimeout: 120_000 } })
