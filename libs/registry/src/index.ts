export { framesOf } from './framed-values.ts'
export { openRegistry, type RegistryAccess } from './registry-access.ts'
export { registrySettings } from './registry-settings.ts'
export { createSchemaRegistry, type SchemaRegistry } from './schema-registry.ts'
