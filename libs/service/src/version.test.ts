import { globSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { version } from './version.ts'

const repository = fileURLToPath(new URL('../../../', import.meta.url))

test('every package of the repository has the version that the apps tell, and asks for it of the others', () => {
  const files = globSync('{package.json,{libs,apps,examples}/*/package.json}', { cwd: repository })
  expect(files.length).toBeGreaterThan(10)
  for (const file of files) {
    const manifest: { version: string; dependencies?: Record<string, string> } = JSON.parse(
      readFileSync(`${repository}${file}`, 'utf8'),
    )
    const ours = Object.entries(manifest.dependencies ?? {}).filter(([name]) => name.startsWith('@headrace/'))
    expect({ file, version: manifest.version, ours }).toEqual({
      file,
      version,
      ours: ours.map(([name]) => [name, version]),
    })
  }
})
