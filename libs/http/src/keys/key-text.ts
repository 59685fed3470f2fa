import { hash, randomBytes } from 'node:crypto'

/** A key as its owner has it: `hr_<environment>_<id>_<secret>`. */
export interface KeyText {
  environment: string
  id: string
  secret: string
}

const shape = /^hr_([A-Za-z0-9]{1,16})_([0-9a-f]{16})_([0-9a-f]{48})$/
const ID_BYTES = 8
/** 192 bits: nobody guesses one, so a fast hash of it gives nothing away. */
const SECRET_BYTES = 24

/** Null: it was never a key of ours. */
export function parseKeyText(text: string): KeyText | null {
  const [, environment, id, secret] = shape.exec(text) ?? []
  if (environment === undefined || id === undefined || secret === undefined) return null
  return { environment, id, secret }
}

export const keyText = ({ environment, id, secret }: KeyText): string => `hr_${environment}_${id}_${secret}`

export const newKeyId = (): string => randomBytes(ID_BYTES).toString('hex')
export const newSecret = (): string => randomBytes(SECRET_BYTES).toString('hex')

/** What is stored of a secret. */
export const secretHash = (secret: string): Buffer => hash('sha256', secret, 'buffer')
