import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { z } from 'zod'
import {
  pack,
  ShoalError,
  toWire,
  type Logger,
  type PeerId,
  type Transport,
  type WireError,
} from '../../base/index.ts'
import {
  acceptResult,
  attemptKey,
  cancelTasks,
  checkPackages,
  dropCached,
  encodeRows,
  fetchBuckets,
  fetchPlan,
  fetchResult,
  forgetBroadcast,
  forgetJob,
  forgetSession,
  inventory,
  JOBS,
  moveRequester,
  packageMissing,
  Packages,
  partitionsKept,
  partName,
  resultTaken,
  runTasks,
  unpackLocations,
  type BroadcastRef,
  type EndedOutcome,
  type Inventory,
  type PackageNeed,
  type Requester,
  type TaskId,
  type TaskInput,
  type TaskOutcome,
} from '../../rdd/index.ts'
import { EXECUTOR } from '../config.ts'
import { Broadcasts } from '../broadcast/index.ts'
import { collect, type Deliver } from '../relay.ts'
import { AccumulatorSender } from './accumulator-sender.ts'
import { inChunks } from './chunks.ts'
import { OutputStore } from './output-store.ts'
import { PartFiles, type PartTarget, type StoredPart } from './part-files.ts'
import { KeptPartitions } from './kept-partitions.ts'
import { ResultHandOver, type ResultOwner } from './result-hand-over.ts'
import { shortened } from './shorten-error.ts'
import { ShuffleExchange } from './shuffle-exchange.ts'
import { TaskOutputSender } from './task-output-sender.ts'
import { TaskReports } from './task-reports.ts'
import { WorkerPool } from './worker-pool.ts'
import { keptFileOf, type RunningTask, type ThreadOutcome } from './worker-thread.ts'

export interface ExecutorPorts {
  transport: Transport
  /** True of peers on other hosts. */
  isFar(peer: PeerId): boolean
  /** The leader as this peer knows it; results of tasks are reported to whoever leads when they end. */
  leader(): PeerId | undefined
  readBlock(
    blockId: string,
    range: { start: number; end: number },
    holders: string[],
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>
  /** Stores a part file of a saved dataset, durably but not visible before the whole is committed. */
  putPart(part: PartTarget, source: AsyncIterable<Uint8Array>): Promise<StoredPart>
  /** Peers for further copies of a kept partition, best first. */
  copyTargets(key: string): PeerId[]
  deliver: Deliver
  /** Living peers, this one among them. */
  peers(): readonly PeerId[]
  log: Logger
}

export interface ExecutorOptions {
  /** The peer's, for errors that people read. */
  name: string
  /** Worker threads. @default cores of the machine */
  workers: number
  dataDirectory: string
  outputDirectory: string
  /** Bytes of sealed outputs kept in memory. */
  outputBytes: number
  /** Bytes of cached partitions in memory… */
  cacheBytes: number
  /** …and on disk. */
  cacheDiskBytes: number
  /** Bytes of broadcasts in memory; the least recently used go to disk. Each worker keeps as much of them decoded. */
  broadcastBytes: number
  /** Bytes that one task may hold in its tables; what is more goes to disk… */
  taskBytes: number
  /** …and those of all workers together. */
  tasksBytes: number
  /** Free space of the disk that tasks leave. */
  diskReserveBytes: number
  /** Where packages that closures name are looked up. @default the working directory */
  packages?: string
  /** Heap of a worker thread. */
  oldSpaceMb: number
}

type RunTasks = z.infer<typeof runTasks.request>
type ResultOutcome = Extract<TaskOutcome, { type: 'result' }>

const NOWHERE: NonNullable<RunTasks['save']> = { path: '', format: 'lines' }

interface Job {
  session: string
  requester: Requester
  broadcasts: readonly BroadcastRef[]
  save: RunTasks['save'] | undefined
  plan: Promise<Uint8Array>
  /** Tasks that are at a worker or wait for one. */
  computing: number
}

/** Runs tasks for whoever leads, keeps what they made, and hands it to those who need it. */
export class Executor {
  readonly #ports: ExecutorPorts
  readonly #options: ExecutorOptions
  readonly #store: OutputStore
  readonly #kept: KeptPartitions
  readonly #pool: WorkerPool
  readonly #parts: PartFiles
  readonly #shuffles: ShuffleExchange
  readonly #results: ResultHandOver
  readonly #reports: TaskReports
  readonly #broadcasts: Broadcasts
  readonly #updates: AccumulatorSender
  readonly #output: TaskOutputSender
  readonly #packages: Packages
  readonly #jobs = new Map<string, Job>()
  /** What was taken on and has not ended. `started`: a thread has it or will; `cancelled`: nobody waits for its end. */
  readonly #running = new Map<string, { jobId: string; id: TaskId; started: boolean; cancelled: boolean }>()
  readonly #closing = new AbortController()
  #maxTerm = 0
  /** By tasks that ended; outputs count for themselves. */
  #tasksSpilledBytes = 0

  constructor(ports: ExecutorPorts, options: ExecutorOptions) {
    this.#ports = ports
    this.#options = options
    this.#packages = new Packages(options.packages)
    this.#store = new OutputStore({
      directory: options.outputDirectory,
      memoryBytesMax: options.outputBytes,
      peer: ports.transport.self,
    })
    this.#kept = new KeptPartitions(
      {
        transport: ports.transport,
        copyTargets: key => ports.copyTargets(key),
        share: entry => this.#pool.shareCached(entry),
        unshare: key => this.#pool.unshareCached(key),
        tell: () => this.#tellKept(),
        log: ports.log,
      },
      {
        directory: join(options.outputDirectory, 'kept'),
        memoryBytes: options.cacheBytes,
        diskBytes: options.cacheDiskBytes,
        diskReserveBytes: options.diskReserveBytes,
      },
    )
    this.#shuffles = new ShuffleExchange(ports.transport, this.#store, peer => ports.isFar(peer))
    this.#results = new ResultHandOver({
      self: ports.transport.self,
      store: this.#store,
      deliver: ports.deliver,
      wanted: (jobId, job) => this.#jobs.get(jobId) === job,
      signal: this.#closing.signal,
      log: ports.log,
    })
    const signal = this.#closing.signal
    const { transport, deliver, log } = ports
    const wanted = (jobId: string, job: ResultOwner): boolean => this.#jobs.get(jobId) === job
    this.#broadcasts = new Broadcasts({
      transport,
      deliver,
      peers: () => ports.peers(),
      directory: options.outputDirectory,
      memoryBytesMax: options.broadcastBytes,
      signal,
      log,
    })
    this.#updates = new AccumulatorSender({ deliver, wanted, signal, log })
    this.#output = new TaskOutputSender({
      peer: { id: transport.self, name: options.name },
      deliver,
      signal,
      log,
    })
    this.#reports = new TaskReports({
      transport: ports.transport,
      leader: () => ports.leader(),
      term: () => this.#maxTerm,
      signal: this.#closing.signal,
      log: ports.log,
    })
    this.#parts = new PartFiles((part, source) => ports.putPart(part, source))
    this.#pool = new WorkerPool({
      workers: options.workers,
      oldSpaceMb: options.oldSpaceMb,
      broadcastBytes: options.broadcastBytes,
      settings: {
        dataDirectory: options.dataDirectory,
        self: ports.transport.self,
        memoryLimitBytes: options.taskBytes,
        memoryBytes: options.tasksBytes,
        spillDirectory: options.outputDirectory,
        keptDirectory: this.#kept.files.directory,
        diskReserveBytes: options.diskReserveBytes,
        packages: this.#packages.directory,
      },
      cached: () => this.#kept.cache.entries(),
      onThreadEnd: prefix => this.#kept.threadEnded(prefix),
      log: ports.log,
      services: {
        readBlock: (blockId, start, end, holders, signal) =>
          ports.readBlock(blockId, { start, end }, holders, signal),
        fetchBuckets: (locations, reduce, signal) => this.#shuffles.fetch(locations, reduce, signal),
        keptRoom: (task, place, key, bytes) => this.#kept.cache.room(task, place, key, bytes),
        keepPartition: (task, content) => {
          const { jobId } = task
          const job = this.#jobs.get(jobId)
          // A job that was forgotten meanwhile: nobody would ever say that it may go.
          if (job === undefined) this.#kept.refuse(content)
          else this.#kept.keep(task, { id: jobId, session: job.session }, content)
        },
        usedPartition: (key, damaged) => {
          if (damaged) this.#kept.cache.dropDamaged(key)
          else this.#kept.cache.touch(key)
        },
        fetchKept: (key, holders, signal) => this.#kept.fetch(key, holders, signal),
        taskOver: task => this.#kept.cache.release(task),
        writeOutput: (task, bytes) => this.#parts.write(partKey(task), this.#partPath(task), bytes),
        onPrinted: (task, lines) => {
          const job = this.#jobs.get(task.jobId)
          if (job !== undefined) this.#output.add(job, task.jobId, task.input.id, lines)
        },
        onConsole: text => ports.log.info({ from: 'task' }, text.trimEnd()),
      },
    })
  }

  async start(): Promise<void> {
    await this.#store.open()
    await this.#kept.start()
    const { transport } = this.#ports
    transport.handle(runTasks, async ({ from, head }) => {
      this.#fence(head.term)
      await this.#onRunTasks(from, head)
      return {}
    })
    transport.handle(cancelTasks, ({ head }) => {
      this.#fence(head.term)
      const keys = new Set(head.ids.map(attemptKey))
      this.#cancel((jobId, id) => jobId === head.jobId && keys.has(attemptKey(id)))
      return {}
    })
    transport.handle(moveRequester, ({ head }) => {
      this.#fence(head.term)
      const job = this.#jobs.get(head.jobId)
      if (job === undefined || head.requester.epoch <= job.requester.epoch) return {}
      job.requester = head.requester
      this.#results.requesterMoved(job)
      return {}
    })
    transport.handle(forgetJob, async ({ head }) => {
      this.#fence(head.term)
      for (const jobId of head.jobIds) await this.#onForgetJob(jobId)
      return {}
    })
    transport.handle(forgetSession, async ({ head }) => {
      this.#fence(head.term)
      // Jobs too: of one that ended while leaders changed nobody else says so.
      for (const [jobId, { session }] of this.#jobs) {
        if (session === head.session) await this.#onForgetJob(jobId)
      }
      await this.#store.dropSession(head.session)
      this.#pool.forgetBroadcasts(await this.#broadcasts.dropSession(head.session))
      this.#kept.cache.dropSession(head.session)
      return {}
    })
    this.#broadcasts.start()
    transport.handle(forgetBroadcast, async ({ head }) => {
      this.#fence(head.term)
      await this.#broadcasts.forget(head.id, head.generation, head.destroyed)
      this.#pool.forgetBroadcasts([head.id])
      return {}
    })
    transport.handle(dropCached, ({ head }) => {
      this.#fence(head.term)
      for (const fingerprint of head.fingerprints) this.#kept.cache.dropFingerprint(fingerprint)
      return {}
    })
    transport.handle(checkPackages, ({ head }) => {
      const { directory } = this.#packages
      return { name: this.#options.name, directory, ...this.#packages.check(head.packages) }
    })
    transport.handle(inventory, async ({ head }) => {
      this.#fence(head.term)
      return { head: { workers: this.#options.workers }, body: inChunks(pack(this.#inventory())) }
    })
    transport.handle(fetchBuckets, async ({ head }) => this.#shuffles.serve(head))
    transport.handle(fetchResult, async ({ head }) => await this.#results.serve(head))
    transport.handle(acceptResult, async ({ head }) => {
      await this.#store.dropResult(head.jobId, head.partition)
      const leader = this.#ports.leader()
      if (leader !== undefined) {
        await this.#ports.transport.call(leader, resultTaken, {
          term: this.#maxTerm,
          jobId: head.jobId,
          partition: head.partition,
        })
      }
      return {}
    })
  }

  /** What this peer keeps of cached RDDs. */
  get kept(): { partitions: number; memoryBytes: number; diskBytes: number } {
    const { cache } = this.#kept
    return { partitions: cache.count, memoryBytes: cache.memoryBytes, diskBytes: cache.diskBytes }
  }

  /** Tasks that were taken on and have not ended. */
  get runningTasks(): number {
    return this.#running.size
  }

  /** What tasks here got of other peers' map outputs since the start. */
  get shuffleTraffic(): ShuffleExchange['traffic'] {
    return this.#shuffles.traffic
  }

  /** Written to disk for want of memory since the start. */
  get spilledBytes(): number {
    return this.#tasksSpilledBytes + this.#store.spilledBytes
  }

  #inventory(): Inventory {
    const kept = this.#kept.list()
    const sessions = new Set(this.#store.sessions())
    for (const session of this.#broadcasts.store.sessions()) sessions.add(session)
    for (const { session } of [...kept, ...this.#jobs.values()]) sessions.add(session)
    return {
      sessions: [...sessions],
      kept,
      // Not the cancelled: a leader that waited for one would wait for ever, because its failure is told to nobody.
      running: [...this.#running.values()]
        .filter(({ cancelled }) => !cancelled)
        .map(({ jobId, id }) => ({ jobId, id })),
      outputs: this.#store.list(),
    }
  }

  /** A leader that was deposed gets nothing done here. */
  #fence(term: number): void {
    if (term < this.#maxTerm) {
      throw new ShoalError(
        'STALE_LEADER',
        { term, seen: this.#maxTerm },
        `a command of term ${term} came after one of term ${this.#maxTerm}`,
      )
    }
    this.#maxTerm = term
  }

  async #onRunTasks(from: PeerId, head: RunTasks): Promise<void> {
    const shuffles = head.shuffles.map(unpackLocations)
    let job = this.#jobs.get(head.jobId)
    if (job === undefined) {
      this.#requirePackages(head.packages)
      const plan =
        head.plan === undefined
          ? this.#fetchPlan(from, head.jobId, head.planHash)
          : Promise.resolve(head.plan)
      plan.catch(() => this.#jobs.delete(head.jobId))
      const { session, requester, save, broadcasts = [] } = head
      job = { session, requester, broadcasts, save, plan, computing: 0 }
      this.#jobs.set(head.jobId, job)
    }
    if (head.requester.epoch >= job.requester.epoch) job.requester = head.requester
    // Only tasks of the last stage save; those of a stage before it may have come first.
    job.save ??= head.save
    const { jobId } = head
    const keyOf = (id: TaskId): string => `${jobId} ${attemptKey(id)}`
    // Taken on from here, so that it can be cancelled and is in the inventory while the plan is still on its way.
    const taken = head.tasks.filter(({ id }) => !this.#running.has(keyOf(id)))
    for (const { id } of taken) this.#running.set(keyOf(id), { jobId, id, started: false, cancelled: false })
    let plan: Uint8Array
    try {
      plan = await job.plan
    } catch (error) {
      for (const { id } of taken) this.#running.delete(keyOf(id))
      throw error
    }
    for (const { id, holders } of taken) {
      const running = this.#running.get(keyOf(id))
      if (running === undefined) continue
      running.started = true
      const input: TaskInput = {
        id,
        root: head.stage.root,
        sink: head.stage.sink,
        shuffles,
        holders,
      }
      const timeoutMs = head.timeoutMs === undefined ? {} : { timeoutMs: head.timeoutMs }
      void this.#run(job, { jobId: head.jobId, input, ...timeoutMs }, plan, head.output)
    }
  }

  /** @throws PACKAGE_MISSING before anything of the job runs */
  #requirePackages(needs: readonly PackageNeed[] = []): void {
    const [lack] = this.#packages.check(needs).missing
    const peer = { id: this.#ports.transport.self, name: this.#options.name }
    if (lack !== undefined) throw packageMissing(lack, this.#packages.directory, peer)
  }

  async #fetchPlan(from: PeerId, jobId: string, planHash: string): Promise<Uint8Array> {
    const { body } = await this.#ports.transport.call(from, fetchPlan, { jobId, planHash })
    return await collect(body, JOBS.planBytesMax)
  }

  async #run(job: Job, task: RunningTask, plan: Uint8Array, output: string | undefined): Promise<void> {
    const { jobId } = task
    const { id } = task.input
    const key = `${jobId} ${attemptKey(id)}`
    let ended: EndedOutcome
    try {
      const broadcasts = await this.#broadcasts.ready(job.broadcasts, job.session, () => job.requester)
      const outcome =
        this.#running.get(key)?.cancelled === true
          ? cancelledOutcome(task)
          : await this.#compute(job, task, plan, broadcasts)
      // Before its end is known: who waits for the job has seen all of it by then.
      await this.#output.flush(jobId)
      await this.#kept.copied(jobId)
      ended = await this.#settle(job, task, output, outcome)
    } catch (error) {
      ended = { type: 'failed', error: toWire(error) }
    }
    // User code may throw megabytes, which would never get through.
    if ('error' in ended) ended = { ...ended, error: shortened(ended.error) }
    const cancelled = this.#running.get(key)?.cancelled === true
    this.#running.delete(key)
    // A cancelled attempt that came to an end all the same has made something that may be of use.
    const useless = ended.type === 'failed' || ended.type === 'worker-died'
    if (!(cancelled && useless)) this.#reports.add({ jobId, id, outcome: ended }, this.#kept.takeChanges())
  }

  async #compute(
    job: Job,
    ...[task, plan, broadcasts]: Parameters<WorkerPool['run']>
  ): Promise<ThreadOutcome> {
    job.computing += 1
    try {
      return await this.#pool.run(task, plan, broadcasts)
    } finally {
      job.computing -= 1
    }
  }

  /** Seals or delivers what the task made. */
  async #settle(
    job: Job,
    task: RunningTask,
    output: string | undefined,
    outcome: ThreadOutcome,
  ): Promise<EndedOutcome> {
    const { jobId } = task
    const { id } = task.input
    if ('metrics' in outcome) this.#tasksSpilledBytes += outcome.metrics.spilledBytes
    switch (outcome.type) {
      case 'map-output': {
        const { bytes, offsets, checksum, metrics } = outcome
        if (output === undefined)
          throw new ShoalError('PLAN_INVALID', { reason: 'a map task without an output name' })
        await this.#tellUpdates(job, { jobId, shuffle: output, id }, outcome.updates)
        const sealed = { jobId, session: job.session, id, shuffle: output, offsets, checksum }
        await this.#store.sealMapOutput(sealed, bytes)
        return { type: 'map-output', shuffle: output, checksum, sizeBytes: bytes.byteLength, metrics }
      }
      case 'map-file': {
        const { file, sizeBytes, offsets, checksum, metrics } = outcome
        if (output === undefined)
          throw new ShoalError('PLAN_INVALID', { reason: 'a map task without an output name' })
        await this.#tellUpdates(job, { jobId, shuffle: output, id }, outcome.updates)
        const sealed = { jobId, session: job.session, id, shuffle: output, offsets, checksum }
        await this.#store.sealMapFile(sealed, { file, sizeBytes })
        return { type: 'map-output', shuffle: output, checksum, sizeBytes, metrics }
      }
      case 'result': {
        const made = job.save === undefined ? outcome : await this.#closePart(task, outcome)
        const { checksum, rows, metrics } = made
        await this.#tellKept()
        // A part that counts is all there is to a result: nobody waits for more of it.
        const sizeBytes = made.bytes.byteLength
        const accepted =
          job.save?.kept !== undefined ||
          (await this.#results.handOver(job, jobId, id, { ...made, sizeBytes }, job.computing > 0))
        return { type: 'result', checksum, sizeBytes, rows, accepted, metrics }
      }
      case 'result-file': {
        const { rows, metrics } = outcome
        const sealed = await this.#store.sealResultFile({ jobId, session: job.session, id }, outcome)
        await this.#tellKept()
        const updateBytes = outcome.updates?.byteLength
        const made = {
          bytes: undefined,
          rows,
          ...sealed,
          ...(updateBytes === undefined ? {} : { updateBytes }),
        }
        const accepted = await this.#results.handOver(job, jobId, id, made, job.computing > 0)
        return { type: 'result', ...sealed, rows, accepted, metrics }
      }
      case 'failed': {
        await this.#parts.abandon(partKey(task))
        // Of a thread that was ended because its task took too long.
        if (outcome.error.code === 'TASK_TIMEOUT') await this.#store.discard(keptFileOf(task))
        const error = this.#located(outcome.error, id)
        return { type: 'failed', error, ...(outcome.fetch === undefined ? {} : { fetch: outcome.fetch }) }
      }
      case 'worker-died':
        await this.#parts.abandon(partKey(task))
        await this.#store.discard(keptFileOf(task))
        return { type: 'worker-died', error: this.#located(outcome.error, id) }
    }
  }

  async #tellUpdates(
    job: Job,
    task: { jobId: string; shuffle: string; id: TaskId },
    updates: Uint8Array | undefined,
  ): Promise<void> {
    if (updates !== undefined) await this.#updates.send(job, task, updates)
  }

  /** Before the result is handed over: the requester's next job may come at once, and should find what is kept. */
  async #tellKept(): Promise<void> {
    const leader = this.#ports.leader()
    if (leader === undefined) return
    const kept = this.#kept.takeChanges()
    if (kept.length === 0) return
    const options = { timeoutMs: EXECUTOR.keptTimeoutMs }
    try {
      await this.#ports.transport.call(leader, partitionsKept, { term: this.#maxTerm, kept }, options)
    } catch {
      // With the report, then.
      this.#kept.giveBack(kept)
    }
  }

  /** The part file is stored durably; the one row of the result says where. */
  async #closePart(task: RunningTask, outcome: ResultOutcome): Promise<ResultOutcome> {
    const part = await this.#parts.close(partKey(task), this.#partPath(task))
    // What it added to accumulators is at the end of the bytes, and stays there.
    const updates = outcome.bytes.subarray(outcome.bytes.byteLength - (outcome.updateBytes ?? 0))
    const bytes = Buffer.concat([encodeRows([part]), updates])
    return { ...outcome, bytes, rows: 1, checksum: crc32(bytes) }
  }

  #partPath(task: RunningTask): PartTarget {
    const { partition, term, attempt } = task.input.id
    const { path, format, replication, kept } = this.#jobs.get(task.jobId)?.save ?? NOWHERE
    if (kept !== undefined) {
      return { path: `${path}/${partName(partition, kept.suffix)}`, format, replication, kept: true }
    }
    const part = partName(partition, '')
    const job = task.jobId.replaceAll('/', '-')
    return { path: `${path}/_attempts/${job}/${part}.${term}.${attempt}`, format, replication, kept: false }
  }

  async #onForgetJob(jobId: string): Promise<void> {
    this.#jobs.delete(jobId)
    this.#cancel(other => other === jobId)
    this.#output.forgetJob(jobId)
    this.#pool.forgetJob(jobId)
    await this.#store.dropJob(jobId)
  }

  /** The waiting never start, the running stop within a slice or lose their thread. */
  #cancel(matches: (jobId: string, id: TaskId) => boolean): void {
    for (const [key, running] of this.#running) {
      if (!matches(running.jobId, running.id)) continue
      running.cancelled = true
      if (!running.started) this.#running.delete(key)
    }
    this.#pool.cancel(task => matches(task.jobId, task.input.id), EXECUTOR.cancelGraceMs)
  }

  /** The worker does not know its peer; the caller wants to. */
  #located(error: WireError, { stage, partition, attempt }: TaskId): WireError {
    if (!error.code.startsWith('TASK_')) return error
    const where = {
      peer: this.#ports.transport.self,
      peerName: this.#options.name,
      stage,
      partition,
      attempt,
    }
    return { ...error, details: { ...error.details, ...where } }
  }

  async close(): Promise<void> {
    this.#closing.abort(new ShoalError('CANCELLED', { what: 'executor' }))
    await this.#pool.close()
    await this.#broadcasts.close()
    await this.#store.close()
  }
}

/** Of an attempt that was cancelled before it had all that it needs. */
function cancelledOutcome({ jobId }: RunningTask): ThreadOutcome {
  const what = `a task of ${jobId}`
  return { type: 'failed', error: toWire(new ShoalError('CANCELLED', { what })) }
}

function partKey(task: RunningTask): string {
  return `${task.jobId} ${attemptKey(task.input.id)}`
}
