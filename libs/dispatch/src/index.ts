export { type Admissions, type AdmissionsOptions, createAdmissions } from './admissions.ts'
export { createDispatcher, type Dispatcher, type DispatcherOptions } from './dispatcher.ts'
