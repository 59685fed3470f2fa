import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
/** The node lives for minutes. */
const DAYS = '2'

/**
 * Writes into `folder`: ca, server (of the API server, for `names`), admin (who may do everything, and whom all parts
 * of the node are here) as `.crt` and `.key`, and service-accounts as `.key` and `.pub`.
 */
export async function makeCertificates(folder: string, names: string[]): Promise<void> {
  const file = (name: string): string => join(folder, name)
  const make = async (name: string, subject: string, ...others: string[]): Promise<void> => {
    const files = ['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`)]
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-noenc', '-days', DAYS, '-subj', subject]
    await run('openssl', [...request, ...files, ...others])
  }
  await make('ca', '/CN=headrace-node')
  const signed = ['-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-addext', 'basicConstraints=CA:FALSE']
  await make('server', '/CN=kube-apiserver', ...signed, '-addext', `subjectAltName=${names.join(',')}`)
  await make('admin', '/O=system:masters/CN=admin', ...signed)
  await run('openssl', ['genrsa', '-out', file('service-accounts.key'), '2048'])
  const { stdout } = await run('openssl', ['rsa', '-in', file('service-accounts.key'), '-pubout'])
  await writeFile(file('service-accounts.pub'), stdout)
}
