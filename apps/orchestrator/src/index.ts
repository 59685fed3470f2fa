export { type OrchestratorConfig, parseOrchestratorConfig } from './config.ts'
export { main } from './main.ts'
export { prepareSchema, type PrepareSchemaOptions } from './prepare-schema.ts'
export { startOrchestrator, type StartOrchestratorOptions } from './start-orchestrator.ts'
