import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Files of PEM text. */
export interface Certificate {
  readonly cert: string
  readonly key: string
}

export interface Authority {
  /** The file of its own certificate. */
  readonly ca: string
  /** A certificate that it signs; `names` as OpenSSL writes them: `IP:127.0.0.1,DNS:localhost`. */
  sign(name: string, names: string): Promise<Certificate>
}

const KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']

/** An authority of the test's own, made by openssl. */
export async function createAuthority(folder: string, name = 'authority'): Promise<Authority> {
  const [ca, key] = [join(folder, `${name}.crt`), join(folder, `${name}.key`)]
  await run('openssl', [
    'req',
    '-x509',
    ...KEY,
    '-days',
    '30',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    key,
    '-out',
    ca,
  ])
  return {
    ca,
    async sign(subject, names) {
      const files = { cert: join(folder, `${subject}.crt`), key: join(folder, `${subject}.key`) }
      const issued = [
        '-CA',
        ca,
        '-CAkey',
        key,
        '-addext',
        `subjectAltName=${names}`,
        '-subj',
        `/CN=${subject}`,
      ]
      const leaf = ['-addext', 'basicConstraints=critical,CA:FALSE']
      const out = ['-keyout', files.key, '-out', files.cert]
      await run('openssl', ['req', '-x509', ...KEY, '-days', '30', ...issued, ...leaf, ...out])
      return files
    },
  }
}

/** Key and certificate in one file, as Kafka's PEM key store has them. */
export async function joinPem({ cert, key }: Certificate, file: string): Promise<string> {
  await writeFile(file, (await readFile(key, 'utf8')) + (await readFile(cert, 'utf8')))
  return file
}
