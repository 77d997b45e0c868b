import { MemoryGrants } from './memory-grants.ts'
import type { Logger } from '../../base/index.ts'
import type { SharedBroadcast } from '../broadcast/index.ts'
import { PEER } from '../config.ts'
import { WorkerThread, type RunningTask, type ThreadOutcome, type WorkerServices } from './worker-thread.ts'
import type { WorkerSettings } from './worker-protocol.ts'
import type { CachedPartition } from './partition-cache.ts'
import type { KeptKey } from '../../rdd/index.ts'

/** What all workers are told alike. `memoryBytes`: what their tasks may hold together. */
export type PoolSettings = Omit<WorkerSettings, 'cancelFlag' | 'outputCounts' | 'memoryCells' | 'worker'>

interface Queued {
  task: RunningTask
  plan: Uint8Array
  broadcasts: readonly SharedBroadcast[]
  done: PromiseWithResolvers<ThreadOutcome>
}

/** The worker threads of a peer: started when first needed (each costs 20 to 25 MB), replaced when one dies. */
export class WorkerPool {
  readonly workers: number
  readonly #settings: PoolSettings
  readonly #oldSpaceMb: number
  readonly #broadcastBytes: number
  readonly #services: WorkerServices
  readonly #log: Logger
  readonly #threads: WorkerThread[] = []
  readonly #queue: Queued[] = []
  /** What a new thread is told before its first task. */
  readonly #cached: () => CachedPartition[]
  readonly #onThreadEnd: (filePrefix: string) => void
  readonly #grants: MemoryGrants
  /** Cells of the account of memory that no thread has. */
  readonly #cells: number[]
  #closed = false

  constructor(options: {
    workers: number
    settings: PoolSettings
    oldSpaceMb: number
    /** Encoded bytes of broadcasts that each thread keeps between tasks. @default PEER.broadcastBytes */
    broadcastBytes?: number
    services: WorkerServices
    cached: () => CachedPartition[]
    /** Its unfinished files are nobody's now; their names begin so. */
    onThreadEnd: (filePrefix: string) => void
    log: Logger
  }) {
    this.workers = options.workers
    this.#settings = options.settings
    this.#oldSpaceMb = options.oldSpaceMb
    this.#broadcastBytes = options.broadcastBytes ?? PEER.broadcastBytes
    this.#services = options.services
    this.#cached = options.cached
    this.#onThreadEnd = options.onThreadEnd
    this.#log = options.log
    this.#grants = MemoryGrants.of(options.workers, options.settings.memoryBytes)
    this.#cells = Array.from(this.#grants.cells.keys())
  }

  /** What running tasks have of the peer's memory. */
  get grantedBytes(): number {
    return this.#grants.grantedBytes
  }

  /** Runs the task when a thread is free; never rejects. Bounded by the leader, which knows the number of workers. */
  run(
    task: RunningTask,
    plan: Uint8Array,
    broadcasts: readonly SharedBroadcast[] = [],
  ): Promise<ThreadOutcome> {
    const done = Promise.withResolvers<ThreadOutcome>()
    const queued = { task, plan, broadcasts, done }
    if (this.#closed) settleCancelled(queued)
    else this.#queue.push(queued)
    this.#next()
    return done.promise
  }

  /** Cancels what matches: the queued never start, the running stop within a slice or lose their thread. */
  cancel(matches: (task: RunningTask) => boolean, graceMs: number): void {
    for (let i = this.#queue.length - 1; i >= 0; i--) {
      const queued = this.#queue[i]!
      if (!matches(queued.task)) continue
      this.#queue.splice(i, 1)
      settleCancelled(queued)
    }
    for (const thread of this.#threads) {
      if (thread.task !== undefined && matches(thread.task)) thread.cancel(graceMs)
    }
  }

  forgetJob(jobId: string): void {
    for (const thread of this.#threads) thread.forgetJob(jobId)
  }

  forgetBroadcasts(ids: readonly string[]): void {
    for (const thread of this.#threads) thread.forgetBroadcasts(ids)
  }

  /** Every thread reads the same shared memory, or the same file. */
  shareCached(entry: CachedPartition): void {
    for (const thread of this.#threads) tell(thread, entry)
  }

  unshareCached({ fingerprint, partition }: KeptKey): void {
    for (const thread of this.#threads) thread.post({ type: 'uncached', key: { fingerprint, partition } })
  }

  #next(): void {
    while (this.#queue.length > 0 && !this.#closed) {
      const thread = this.#threads.find(candidate => !candidate.busy) ?? this.#start()
      if (thread === undefined) return
      const queued = this.#queue.shift()!
      void thread.run(queued.task, queued.plan, queued.broadcasts).then(outcome => {
        queued.done.resolve(outcome)
        this.#next()
      })
    }
  }

  #start(): WorkerThread | undefined {
    const cell = this.#cells.shift()
    if (cell === undefined) return undefined
    const thread = new WorkerThread({
      settings: { ...this.#settings, memoryCells: this.#grants.cells, worker: cell },
      oldSpaceMb: this.#oldSpaceMb,
      broadcastBytes: this.#broadcastBytes,
      services: this.#services,
      onExit: dead => {
        const index = this.#threads.indexOf(dead)
        if (index >= 0) this.#threads.splice(index, 1)
        // It has no memory any more, whatever it had.
        this.#grants.resize(cell, 0)
        this.#cells.push(cell)
        this.#onThreadEnd(dead.filePrefix)
        if (!this.#closed) this.#log.warn({ threads: this.#threads.length }, 'a worker thread ended')
        this.#next()
      },
    })
    this.#threads.push(thread)
    for (const entry of this.#cached()) tell(thread, entry)
    return thread
  }

  async close(): Promise<void> {
    this.#closed = true
    this.cancel(() => true, 0)
    await Promise.all(this.#threads.map(thread => thread.terminate()))
  }
}

function tell(thread: WorkerThread, { fingerprint, partition, chunks, file }: CachedPartition): void {
  const key = { fingerprint, partition }
  if (chunks !== undefined) thread.post({ type: 'cached', key, at: { chunks } })
  else if (file !== undefined) {
    thread.post({ type: 'cached', key, at: { file: file.path, fileBytes: file.sizeBytes } })
  }
}

function settleCancelled({ done }: Queued): void {
  const error = {
    code: 'CANCELLED',
    message: 'cancelled before it began',
    details: { what: 'task' },
  } as const
  done.resolve({ type: 'failed', error })
}
