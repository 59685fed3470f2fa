/** Bytes that are not what their schema says. Ends the reading of one record, and nothing else. */
export class Undecodable extends Error {
  override readonly name = 'Undecodable'
}

/** A schema that the registry holds and that cannot be read by. Its records are undecodable, each with this reason. */
export class UnusableSchema extends Error {
  override readonly name = 'UnusableSchema'
}
