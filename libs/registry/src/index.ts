export { framesOf } from './framed-values.ts'
