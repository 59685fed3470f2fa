import { expect, test } from 'vitest'
import { parseJavaVersion } from './java.ts'
import { kafkaProperties } from './kafka-properties.ts'
import { namesFolder } from './server-process.ts'

const names = (args: string[], folder: string): boolean => namesFolder(args, args.join(' '), folder)

test('a process is ours when an argument is our folder or lies in it', () => {
  expect(names(['java', 'kafka.Kafka', '/data/kafka/server.properties'], '/data/kafka')).toBe(true)
  expect(names(['postgres', '-D', '/data/postgres'], '/data/postgres')).toBe(true)
})

test('a process of another folder is not ours, also when its name begins alike', () => {
  expect(names(['postgres', '-D', '/data/postgres-2/data'], '/data/postgres')).toBe(false)
  expect(names(['postgres', '-D', '/other/data/postgres/data'], '/data/postgres')).toBe(false)
})

test.each([
  ['openjdk version "17.0.15" 2025-04-15', 17],
  ['java version "1.8.0_292"', 8],
  ['openjdk version "21" 2023-09-19', 21],
  ['command not found', null],
])('the version of %s is %s', (text, version) => {
  expect(parseJavaVersion(text)).toBe(version)
})

test('Kafka listens on loopback only, makes no topics by itself, and keeps its log in our folder', () => {
  const text = kafkaProperties({
    port: 1,
    controllerPort: 2,
    logDir: '/data/kafka/data',
    listenHost: '127.0.0.1',
  })
  expect(text).toContain('listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n')
  expect(text).toContain('auto.create.topics.enable=false\n')
  expect(text).toContain('log.dirs=/data/kafka/data\n')
})
