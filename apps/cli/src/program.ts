import { runMain, version } from '@headrace/service'
import { Command, InvalidArgumentError } from 'commander'
import type { DevOptions } from './dev/dev.ts'
import type { ApplyCommandOptions } from './kafka-apply.ts'
import type { PlanCommandOptions } from './kafka-plan.ts'
import type { CreateKeyOptions } from './keys.ts'
import type { MigrateOptions } from './migrate.ts'

/**
 * The `headrace` command: `dev` for one machine, each app alone, and the schema. Settings of the apps are `HEADRACE_*` only;
 * options belong to `dev`. Each command loads its own app only.
 */

/** The management ports are the port + 1000 to + 1002, and 65535 is the last there is. */
const portMax = 65_535 - 1_002

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port >= 1 && port <= portMax))
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${portMax}.`)
  return port
}

export const program = new Command('headrace')
  .description('Event-driven workflows on Kafka and Postgres.')
  .version(version)

program
  .command('dev')
  .description('Everything on this machine: Kafka, Postgres, the three apps and, with --worker, a worker.')
  .option('--port <port>', 'the gateway; the others follow at +2, +1000, +1001, +1002', parsePort, 8080)
  .option('--data-dir <folder>', 'data of Kafka and Postgres, logs', '.headrace')
  .option('--worker <file>', 'a worker program (TypeScript or JavaScript) to run beside the apps')
  .option('--no-example', 'do not run the worker that --worker names')
  .option('--schema-registry', 'a schema registry too: Apicurio, on a JVM of its own', false)
  .option('--reset', 'delete what earlier starts left in the data folder', false)
  .action(async (options: DevOptions & { example: boolean }) => {
    const { example, worker, ...rest } = options
    const devOptions: DevOptions = example && worker !== undefined ? { ...rest, worker } : rest
    const { startDev } = await import('./dev/dev.ts')
    await runMain({ start: async (signal) => await startDev(devOptions, process.env, signal) })
  })

program
  .command('gateway')
  .description('Events in: HTTP to Kafka. Settings: HEADRACE_*.')
  .action(async () => await (await import('@headrace/gateway')).main(process.env))

program
  .command('trigger-service')
  .description('Events to windows to runs. Settings: HEADRACE_*.')
  .action(async () => await (await import('@headrace/trigger-service')).main(process.env))

program
  .command('orchestrator')
  .description('Runs, steps, recovery. Settings: HEADRACE_*.')
  .action(async () => await (await import('@headrace/orchestrator')).main(process.env))

program
  .command('migrate')
  .description('Bring the schema of Postgres up to date, and end. Settings: HEADRACE_DATABASE_URL.')
  .option('--check', 'change nothing; exit with 1 when the schema is too old', false)
  .action(
    async (options: MigrateOptions) =>
      await (await import('./migrate.ts')).runMigration(process.env, options),
  )

const keys = program
  .command('keys')
  .description('API keys, straight in Postgres: for the first one. Settings: HEADRACE_DATABASE_URL.')

const collect = (each: string, all: string[]): string[] => [...all, each]

keys
  .command('create')
  .description('Make an API key. It is printed this once, and kept nowhere.')
  .requiredOption('--name <name>', 'what or whom it is for')
  .requiredOption(
    '--scope <scope>',
    'what it may do, such as events:write:orders/**; several times',
    collect,
    [],
  )
  .option('--environment <name>', 'stands in the key: letters and digits (default: live)')
  .option('--rate <events>', 'events a second that it may publish, at each gateway', Number)
  .option('--expires <time>', 'when it ends, such as 2027-01-01T00:00:00Z')
  .action(
    async (options: CreateKeyOptions) =>
      await (await import('./keys.ts')).createKeyCommand(process.env, options),
  )

keys
  .command('list')
  .description('All API keys, without their secrets.')
  .action(async () => await (await import('./keys.ts')).listKeysCommand(process.env))

keys
  .command('revoke <id>')
  .description('End an API key, for good.')
  .action(async (id: string) => await (await import('./keys.ts')).revokeKeyCommand(process.env, id))

const schemas = program
  .command('schemas')
  .description('Event types of a program, in CI. Settings: HEADRACE_URL, HEADRACE_API_KEY.')

schemas
  .command('push <module>')
  .description('Register the event types that a module exports; exit with 1 when one is refused.')
  .action(
    async (module: string) => await (await import('./schemas.ts')).runSchemas(process.env, 'push', module),
  )

schemas
  .command('check <module>')
  .description('Change nothing; exit with 1 when one is not there or differs.')
  .action(
    async (module: string) => await (await import('./schemas.ts')).runSchemas(process.env, 'check', module),
  )

const several = (each: string, all: string[]): string[] => [...all, each]

const kafka = program.command('kafka').description('What Headrace needs of Kafka.')

/** Of what the plan is made. */
const planCommand = (name: string, description: string): Command =>
  kafka
    .command(name)
    .description(description)
    .option('--stream <name>', 'a stream that is to be made; several times', several, [])
    .option('--queue <name>', 'a queue (default: default); several times', several, [])
    .option(
      '--external-topic <name>',
      'a topic of other people’s that a stream is bound to; several times',
      several,
      [],
    )
    .option(
      '--principal <part=User:name>',
      'of gateway, trigger-service, orchestrator or worker; several times',
      several,
      [],
    )

planCommand(
  'plan',
  'Topics, consumer groups and ACLs as commands of Kafka’s tools. Connects to nothing. Settings: HEADRACE_*.',
)
  .option('--json', 'as JSON', false)
  .action(
    async (options: PlanCommandOptions) =>
      await (await import('./kafka-plan.ts')).runKafkaPlan(process.env, options),
  )

planCommand(
  'apply',
  'Carry out the plan: make the topics that are missing, correct settings. Settings: HEADRACE_*.',
)
  .option('--acls', 'grant the ACLs too', false)
  .option('--dry-run', 'change nothing; exit with 1 when there is something to do', false)
  .action(
    async (options: ApplyCommandOptions) =>
      await (await import('./kafka-apply.ts')).runKafkaApply(process.env, options),
  )
