import type { BrokerLogger } from '../broker-config.ts'
import { codeOf, messageOf } from '../broker-error.ts'
import { partitionKey } from '../records.ts'
import type { GroupMember, OffsetToCommit } from './group-member.ts'

/** How long offsets are gathered before they are written (ms): they serve lag metrics and the next start, not correctness. */
const GATHER_MS = 1_000

/** Group offsets that wait to be written. What a rebalance or an outage kept out stays for the next time. */
export class CommitBuffer {
  readonly #member: GroupMember
  readonly #logger: BrokerLogger
  readonly #isOurs: (key: string) => boolean
  readonly #waiting = new Map<string, OffsetToCommit>()
  #flushing: Promise<void> | null = null
  #timer: NodeJS.Timeout | null = null

  constructor(member: GroupMember, logger: BrokerLogger, isOurs: (key: string) => boolean) {
    this.#member = member
    this.#logger = logger
    this.#isOurs = isOurs
  }

  add(commit: OffsetToCommit): void {
    this.#waiting.set(partitionKey(commit.topic, commit.partition), commit)
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      this.flush().catch(() => undefined)
    }, GATHER_MS)
  }

  /** Writes all that waits. Never rejects. */
  async flush(): Promise<void> {
    while (this.#flushing !== null) await this.#flushing
    this.#flushing = this.#write()
    try {
      await this.#flushing
    } finally {
      this.#flushing = null
    }
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }

  async #write(): Promise<void> {
    for (const key of this.#waiting.keys()) if (!this.#isOurs(key)) this.#waiting.delete(key)
    const commits = [...this.#waiting]
    if (commits.length === 0) return
    try {
      await this.#member.commit(commits.map(([, commit]) => commit))
      for (const [key, commit] of commits) if (this.#waiting.get(key) === commit) this.#waiting.delete(key)
    } catch (error) {
      this.#logger.debug({ event: 'kafka.commit_failed', code: codeOf(error) }, messageOf(error))
    }
  }
}
