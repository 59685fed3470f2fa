export { Worker } from './worker.ts'
export type { WorkerOptions } from './settings.ts'
export type { Logger } from '../run/run-host.ts'
