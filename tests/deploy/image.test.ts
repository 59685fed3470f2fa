import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { APICURIO_VERSION, KAFKA_IMAGE } from '@headrace/local'
import { parseConfig } from '@headrace/service'
import { REPOSITORY } from '@headrace/testing'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'

interface Compose {
  services: Record<string, ComposeService>
}
interface ComposeService {
  image: string
  ports?: string[]
  environment?: Record<string, unknown>
  read_only?: boolean
  cap_drop?: string[]
  healthcheck?: object
}

const read = (file: string): string => readFileSync(join(REPOSITORY, file), 'utf8')
const dockerfile = read('Dockerfile')
const { services } = parse(read('docker-compose.yml'), { merge: true }) as Compose

test('the image is built from every package, and knows which of them only tests need', () => {
  const packages = globSync('{apps,libs}/*/package.json', { cwd: REPOSITORY }).map(dirname)
  expect(packages.length).toBeGreaterThan(10)
  for (const folder of packages) expect(dockerfile).toContain(`COPY ${folder}/package.json ${folder}/\n`)
})

test('what runs in the image is neither root nor of another version than the packages', () => {
  const { version } = JSON.parse(read('package.json')) as { version: string }
  expect(dockerfile).toMatch(/^USER 10001:10001$/m)
  expect(dockerfile).toContain(`ARG VERSION=${version}\n`)
  expect(services['gateway']?.image).toBe(`headrace:\${HEADRACE_VERSION:-${version}}`)
})

test('compose says nothing to an app that is no setting', () => {
  const environments = Object.values(services).map(({ environment = {} }) => stringsOf(environment))
  const said = environments.flatMap((environment) => Object.keys(environment))
  expect(said).toContain('HEADRACE_DATABASE_URL')
  for (const environment of environments) expect(() => parseConfig(z.object({}), environment)).not.toThrow()
})

test('nothing of compose can be reached from another machine', () => {
  const ports = Object.values(services).flatMap((service) => service.ports ?? [])
  expect(ports.length).toBeGreaterThan(3)
  expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([])
})

const stringsOf = (values: Record<string, unknown>): Record<string, string> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]))

test('the registry of compose is that of the tests, and the apps are told of none unless somebody says so', () => {
  expect(services['registry']?.image).toBe(`apicurio/apicurio-registry-kafkasql:${APICURIO_VERSION}`)
  for (const app of ['gateway', 'trigger-service', 'orchestrator'])
    expect(services[app]?.environment?.['HEADRACE_SCHEMA_REGISTRY_URL']).toBe(
      '${HEADRACE_SCHEMA_REGISTRY_URL:-}',
    )
})

test('what is ours runs on a read-only root without capabilities, and says when it is ready', () => {
  const ours = Object.entries(services).filter(([, { image }]) => image.startsWith('headrace'))
  expect(ours.map(([name]) => name).toSorted()).toEqual([
    'example-worker',
    'gateway',
    'migrate',
    'orchestrator',
    'trigger-service',
  ])
  for (const [, service] of ours) expect(service).toMatchObject({ read_only: true, cap_drop: ['ALL'] })
  const silent = ours.filter(([, { healthcheck }]) => healthcheck === undefined)
  expect(silent.map(([name]) => name)).toEqual(['migrate'])
})

test('compose and the chart try things on the Kafka that everything else is tried on', () => {
  expect(services['kafka']?.image).toBe(KAFKA_IMAGE)
  expect(parse(read('deploy/helm/headrace/values.yaml'))).toMatchObject({
    demo: { kafkaImage: KAFKA_IMAGE, postgresImage: services['postgres']?.image },
  })
})
