export { parseTriggerServiceConfig, type TriggerServiceConfig } from './config.ts'
export { main } from './main.ts'
export { startTriggerService, type StartTriggerService } from './trigger-service.ts'
