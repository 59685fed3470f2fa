import { defineConfig } from 'vitest/config'

// Projects by what a test needs: nothing, a Kafka and a Postgres, helm, whole processes, or processes to kill.
// Deadlines are ten times what is usual: a slow machine must never be a failed test.
// Vitest hands the conditions on to Node, for require() too: naming 'import' or 'module' would give CommonJS packages ES modules.
const conditions = ['@headrace/source', 'node']
const source = {
  resolve: { conditions },
  ssr: { resolve: { conditions, externalConditions: ['@headrace/source'] } },
}
const services = {
  globalSetup: ['libs/testing/src/global-setup.ts'],
  testTimeout: 120_000,
  hookTimeout: 120_000,
}

export default defineConfig({
  test: {
    maxWorkers: 2,
    projects: [
      {
        ...source,
        test: {
          name: 'unit',
          include: ['{libs,apps}/*/src/**/*.test.ts', 'scripts/**/*.test.ts'],
          exclude: ['**/*.integration.test.ts', '**/node_modules/**', '**/dist/**'],
          testTimeout: 50_000,
        },
      },
      {
        ...source,
        test: { name: 'integration', include: ['{libs,apps}/*/src/**/*.integration.test.ts'], ...services },
      },
      {
        ...source,
        test: {
          name: 'deploy',
          include: ['tests/deploy/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
      {
        ...source,
        test: { name: 'e2e', include: ['tests/e2e/**/*.test.ts'], ...services, testTimeout: 300_000 },
      },
      {
        ...source,
        test: {
          name: 'crash',
          include: ['tests/crash/**/*.test.ts'],
          ...services,
          testTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
