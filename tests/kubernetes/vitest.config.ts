import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const conditions = ['@headrace/source', 'node']

export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  test: {
    // Each test goes on from what the one before it left.
    bail: 1,
    fileParallelism: false,
    projects: [
      {
        resolve: { conditions },
        ssr: { resolve: { conditions, externalConditions: ['@headrace/source'] } },
        test: {
          name: 'kubernetes',
          include: ['tests/kubernetes/**/*.test.ts'],
          globalSetup: ['tests/kubernetes/node.ts'],
          // Images are imported, pods started and drained, on as few cores as there are.
          testTimeout: 900_000,
          hookTimeout: 900_000,
        },
      },
    ],
  },
})
