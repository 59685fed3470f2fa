import { SecretError } from './secret-error.ts'

/** Why a connection did not open, with the setting to look at. */
export interface ConnectionFault {
  readonly code: 'kafka_unreachable' | 'kafka_tls_failed' | 'kafka_authentication_failed'
  readonly hint: string | null
}

/** Errors of TLS by Node's and OpenSSL's codes. */
const TLS_HINTS: readonly [RegExp, string][] = [
  [
    /^(?:DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT(?:_LOCALLY)?)$/,
    'the authority that signed its certificate is not known here: HEADRACE_KAFKA_TLS_CA_FILE',
  ],
  [
    /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    'its certificate is for another name: HEADRACE_KAFKA_BROKERS and the brokers’ advertised.listeners must use a name that is in it',
  ],
  [/^CERT_HAS_EXPIRED$/, 'its certificate has expired'],
  [
    /^ERR_SSL_.*ALERT.*(?:CERT|UNKNOWN_CA|HANDSHAKE_FAILURE)/,
    'it wants a certificate of ours that it knows: HEADRACE_KAFKA_TLS_CERT_FILE and HEADRACE_KAFKA_TLS_KEY_FILE',
  ],
  [
    /^ERR_OSSL_|^ERR_SSL_(?:PEM|X509|KEY)|^ERR_CRYPTO/,
    'a certificate or key cannot be read: HEADRACE_KAFKA_TLS_CA_FILE, HEADRACE_KAFKA_TLS_CERT_FILE and HEADRACE_KAFKA_TLS_KEY_FILE',
  ],
  [
    /^ERR_SSL_/,
    'this listener may not speak TLS: HEADRACE_KAFKA_TLS, or another port in HEADRACE_KAFKA_BROKERS',
  ],
]

/** An error of opening or authenticating a connection, told by what kafkajs and Node call it. */
export function connectionFault(error: unknown, { tls }: { tls: boolean }): ConnectionFault {
  if (error instanceof SecretError) return { code: 'kafka_authentication_failed', hint: null }
  const { name, code, type, message } = error as {
    name?: string
    code?: unknown
    type?: string
    message?: string
  }
  if (type === 'UNSUPPORTED_SASL_MECHANISM' || type === 'ILLEGAL_SASL_STATE')
    return {
      code: 'kafka_authentication_failed',
      hint: 'this listener does not offer that mechanism: HEADRACE_KAFKA_SASL_MECHANISM',
    }
  if (name === 'KafkaJSSASLAuthenticationError') {
    const isOAuth = message?.includes('OAUTHBEARER') === true
    return {
      code: 'kafka_authentication_failed',
      hint: isOAuth
        ? 'look at HEADRACE_KAFKA_OAUTH_CLIENT_ID, its secret and HEADRACE_KAFKA_OAUTH_SCOPE'
        : 'look at HEADRACE_KAFKA_SASL_USERNAME, HEADRACE_KAFKA_SASL_PASSWORD (or its _FILE) and HEADRACE_KAFKA_SASL_MECHANISM',
    }
  }
  const text = typeof code === 'string' ? code : ''
  const known = TLS_HINTS.find(([pattern]) => pattern.test(text))
  if (known !== undefined) return { code: 'kafka_tls_failed', hint: known[1] }
  if (tls && (text === 'ECONNRESET' || message?.includes('before secure TLS connection') === true))
    return {
      code: 'kafka_tls_failed',
      hint: 'this listener may not speak TLS: HEADRACE_KAFKA_TLS, or another port in HEADRACE_KAFKA_BROKERS',
    }
  return { code: 'kafka_unreachable', hint: null }
}

/** What a broker does that is spoken to without TLS or SASL though it wants them: it hangs up without a word. */
export function hangUpHint({ tls, sasl }: { tls: boolean; sasl: boolean }): string | null {
  if (tls && sasl) return null
  const missing = [...(tls ? [] : ['HEADRACE_KAFKA_TLS']), ...(sasl ? [] : ['HEADRACE_KAFKA_SASL_MECHANISM'])]
  return `a listener that wants more than it was told hangs up like this: ${missing.join(', ')}`
}
