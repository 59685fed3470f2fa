import { readFileSync } from 'node:fs'

/** Of this package, as `GET /v1/status` tells it. */
export const version: string = (
  JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
).version
