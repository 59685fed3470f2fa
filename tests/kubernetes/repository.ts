import { fileURLToPath } from 'node:url'

/** The repository's folder. Not libs/testing's: that one brings vitest, which is not there before the node is. */
export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
