const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** A ULID: 48 bits of time and 80 random ones, 26 characters, in the order of their making. Works in browsers. */
export function ulid(nowMs: number): string {
  let text = ''
  for (let rest = nowMs, digit = 0; digit < 10; digit += 1) {
    text = ALPHABET.charAt(rest % 32) + text
    rest = Math.floor(rest / 32)
  }
  // 16 bytes, five bits of each: 80 random bits.
  for (const byte of crypto.getRandomValues(new Uint8Array(16))) text += ALPHABET.charAt(byte & 31)
  return text
}
