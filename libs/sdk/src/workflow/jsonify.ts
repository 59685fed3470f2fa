/**
 * What a value is after it was stored as JSON and read back: `Date` → string, `undefined` → null (a member that is
 * undefined is left out), anything with `toJSON` → what that returns. A bigint, a function or a symbol cannot be
 * stored; their type is `never` and the step fails with a `StepOutputError` that names the path.
 */
export type Jsonify<T> = 0 extends 1 & T
  ? T // any stays any
  : T extends string | number | boolean | null
    ? T
    : T extends undefined
      ? null
      : T extends { toJSON(): infer Json }
        ? Jsonify<Json>
        : T extends bigint | symbol | ((...args: never[]) => unknown)
          ? never
          : T extends readonly unknown[]
            ? { -readonly [Index in keyof T]: Jsonify<T[Index]> }
            : T extends object
              ? JsonifyObject<T>
              : // `unknown`, and `void` of a body that returns nothing
                unknown extends T
                ? unknown
                : null

type Optional<T> = { [Key in keyof T]: undefined extends T[Key] ? Key : never }[keyof T]
type Flat<T> = { [Key in keyof T]: T[Key] }
type JsonifyObject<T> = Flat<
  { -readonly [Key in Exclude<keyof T, Optional<T> | symbol>]: Jsonify<T[Key]> } & {
    -readonly [Key in Exclude<Optional<T>, symbol>]?: Jsonify<Exclude<T[Key], undefined>>
  }
>
