/** A secret, a certificate or a token that could not be had. The message names the setting, never the secret. */
export class SecretError extends Error {
  override readonly name = 'SecretError'
}
