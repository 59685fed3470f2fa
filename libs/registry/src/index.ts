export {
  type CheckedData,
  compileTypeSchema,
  type EventTypeCheck,
  type WriteData,
} from './encode/event-type-check.ts'
export { EventTypeChecks, type KnownEventType } from './encode/event-type-checks.ts'
export { framesOf } from './framed-values.ts'
export { openRegistry, type RegistryAccess } from './registry-access.ts'
export { registrySettings } from './registry-settings.ts'
export { createSchemaRegistry, type SchemaRegistry, type SubjectSchema } from './schema-registry.ts'
