import { describe, expect, it } from 'vitest'
import { securitySettings } from './security-settings.ts'

const scram = {
  HEADRACE_KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512',
  HEADRACE_KAFKA_SASL_USERNAME: 'ann',
  HEADRACE_KAFKA_SASL_PASSWORD: 'secret',
}

describe('the settings of Kafka’s security', () => {
  it('are neither TLS nor SASL where nothing is set, or only empty text', async () => {
    expect(await securitySettings({ HEADRACE_KAFKA_TLS: '' }).security()).toEqual({})
  })

  it('turn TLS on by themselves where a file of it is named', async () => {
    const { security, problems } = securitySettings({ HEADRACE_KAFKA_TLS_CA_FILE: '/nowhere' })
    expect(problems).toEqual([])
    await expect(security()).rejects.toThrow('the file of HEADRACE_KAFKA_TLS_CA_FILE cannot be read')
    expect(await securitySettings({ HEADRACE_KAFKA_TLS: 'on' }).security()).toEqual({ ssl: {} })
  })

  it('name the mechanism in any letter case', async () => {
    expect(await securitySettings(scram).security()).toEqual({
      sasl: { mechanism: 'scram-sha-512', username: 'ann', password: 'secret' },
    })
  })

  it.each<[string, Record<string, string>, string]>([
    ['another word than on or off', { HEADRACE_KAFKA_TLS: 'yes' }, 'HEADRACE_KAFKA_TLS'],
    [
      'files without TLS',
      { HEADRACE_KAFKA_TLS: 'off', HEADRACE_KAFKA_TLS_CA_FILE: '/ca' },
      'HEADRACE_KAFKA_TLS_CA_FILE',
    ],
    ['a certificate without its key', { HEADRACE_KAFKA_TLS_CERT_FILE: '/c' }, 'HEADRACE_KAFKA_TLS_KEY_FILE'],
    ['an unknown mechanism', { HEADRACE_KAFKA_SASL_MECHANISM: 'gssapi' }, 'HEADRACE_KAFKA_SASL_MECHANISM'],
    ['a name without a mechanism', { HEADRACE_KAFKA_SASL_USERNAME: 'ann' }, 'HEADRACE_KAFKA_SASL_USERNAME'],
    [
      'a mechanism without a name',
      { ...scram, HEADRACE_KAFKA_SASL_USERNAME: '' },
      'HEADRACE_KAFKA_SASL_USERNAME',
    ],
    ['no password', { ...scram, HEADRACE_KAFKA_SASL_PASSWORD: '' }, 'HEADRACE_KAFKA_SASL_PASSWORD'],
    [
      'a password twice',
      { ...scram, HEADRACE_KAFKA_SASL_PASSWORD_FILE: '/p' },
      'HEADRACE_KAFKA_SASL_PASSWORD',
    ],
    [
      'what belongs to another mechanism',
      { ...scram, HEADRACE_KAFKA_OAUTH_SCOPE: 'kafka' },
      'HEADRACE_KAFKA_OAUTH_SCOPE',
    ],
  ])('refuse %s by name, and say no value', (_, env, variable) => {
    const { problems } = securitySettings(env)
    expect(problems.map((problem) => problem.variable)).toEqual([variable])
    expect(JSON.stringify(problems)).not.toContain('secret')
  })

  it('ask for all that a token endpoint needs', () => {
    const { problems } = securitySettings({
      HEADRACE_KAFKA_SASL_MECHANISM: 'oauthbearer',
      HEADRACE_KAFKA_OAUTH_TOKEN_URL: 'ftp://tokens',
    })
    expect(problems.map(({ variable }) => variable)).toEqual([
      'HEADRACE_KAFKA_OAUTH_TOKEN_URL',
      'HEADRACE_KAFKA_OAUTH_CLIENT_ID',
      'HEADRACE_KAFKA_OAUTH_CLIENT_SECRET',
    ])
  })
})
