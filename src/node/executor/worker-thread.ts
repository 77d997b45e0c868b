import { createHash } from 'node:crypto'
import { Worker, type TransferListItem } from 'node:worker_threads'
import { ShoalError, toWire, type WireError } from '../../base/index.ts'
import {
  attemptKey,
  type KeptContent,
  type KeptKey,
  type PrintedLine,
  type ShuffleLocations,
  type TaskInput,
  type TaskOutcome,
} from '../../rdd/index.ts'
import { EXECUTOR } from '../config.ts'
import type { SharedBroadcast } from '../broadcast/index.ts'
import { takeUntold } from './task-console.ts'
import { WorkerBroadcasts } from './worker-broadcasts.ts'
import {
  STREAM_CREDIT_BYTES,
  type FromWorker,
  type ToWorker,
  type WorkerSettings,
} from './worker-protocol.ts'

/** What a worker thread asks of the peer while it runs a task. */
export interface WorkerServices {
  readBlock(
    blockId: string,
    start: number,
    end: number,
    holders: string[],
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>
  /** Buckets in map order. */
  fetchBuckets(
    locations: ShuffleLocations,
    reduce: number,
    signal: AbortSignal,
  ): AsyncIterable<{ map: number; bytes: Uint8Array }>
  keptRoom(task: RunningTask, place: 'memory' | 'disk', key: KeptKey, bytes: number): Promise<boolean>
  keepPartition(task: RunningTask, content: KeptContent): void
  usedPartition(key: KeptKey, damaged: boolean): void
  /** Chunks that another peer keeps. Throws NOT_FOUND when none of the holders has them. */
  fetchKept(key: KeptKey, holders: readonly string[], signal: AbortSignal): AsyncIterable<Uint8Array>
  /** No more of it will be asked. */
  taskOver(task: RunningTask): void
  /** The next bytes of the file that the task saves. */
  writeOutput(task: RunningTask, bytes: Uint8Array): Promise<void>
  /** Lines that a task printed, in order. */
  onPrinted(task: RunningTask, lines: PrintedLine[]): void
  /** Text that reached the thread's streams past `console`, or when no task was running. */
  onConsole(text: string): void
}

export interface RunningTask {
  jobId: string
  input: TaskInput
  /** From when a thread takes it; then it is ended. @default no limit */
  timeoutMs?: number
}

/** Name, among the peer's outputs, of the file of an attempt whose output does not fit into memory. */
export function keptFileOf({ jobId, input }: RunningTask): string {
  return `${createHash('sha256').update(jobId).digest('hex').slice(0, 16)}-${attemptKey(input.id)}.out`
}

export function keptFilePrefix(threadId: number): string {
  return `thread-${threadId}-`
}

export type ThreadOutcome = TaskOutcome | { type: 'worker-died'; error: WireError }

interface Current {
  task: RunningTask
  done: PromiseWithResolvers<ThreadOutcome>
  abort: AbortController
  /** What the task writes is handed on in order; never rejects. */
  written: Promise<void>
  /** Credit of the streams that feed the task: bytes that may still be posted, and who waits for more. */
  streams: Map<number, { credit: number; wake: (() => void) | undefined; abort: AbortController }>
  /** Lines that were printed and passed on, and those left out. */
  printed: number
  suppressed: number
  /** It was told to stop because its time is over. */
  isLate: boolean
}

/** How often the heap of a running task is looked at: at a gigabyte a second, memory for a tenth of that is at risk. */
const HEAP_LOOK_MS = 100

/** Made once: an error with its stack for each task would cost more than a trivial task does. */
const TASK_ENDED = new ShoalError('CANCELLED', { what: 'streams of an ended task' })

/** One worker thread: runs one task at a time, and may die of it without hurting the peer. */
export class WorkerThread {
  readonly #services: WorkerServices
  readonly #cancelFlag = new SharedArrayBuffer(4)
  readonly #outputCounts = new SharedArrayBuffer(8)
  readonly #broadcasts: WorkerBroadcasts
  readonly #worker: Worker
  /** Begins the names of its files. */
  readonly filePrefix: string
  readonly #oldSpaceMb: number
  readonly #plans = new Set<string>()
  readonly #onExit: (thread: WorkerThread) => void
  #current: Current | undefined
  #lastError: Error | undefined
  #outOfMemory = false
  #dead = false

  constructor(options: {
    settings: Omit<WorkerSettings, 'cancelFlag' | 'outputCounts'>
    oldSpaceMb: number
    /** Encoded bytes of broadcasts that stay in the thread between tasks. */
    broadcastBytes: number
    services: WorkerServices
    onExit: (thread: WorkerThread) => void
  }) {
    this.#services = options.services
    this.#oldSpaceMb = options.oldSpaceMb
    this.#broadcasts = new WorkerBroadcasts(options.broadcastBytes)
    this.#onExit = options.onExit
    this.#worker = new Worker(new URL('./task-worker.ts', import.meta.url), {
      workerData: {
        ...options.settings,
        cancelFlag: this.#cancelFlag,
        outputCounts: this.#outputCounts,
      } satisfies WorkerSettings,
      resourceLimits: { maxOldGenerationSizeMb: 2 * options.oldSpaceMb },
      stdout: true,
      stderr: true,
      execArgv: [],
    })
    this.filePrefix = keptFilePrefix(this.#worker.threadId)
    // The process may end while workers are idle.
    this.#worker.unref()
    for (const stream of [this.#worker.stdout, this.#worker.stderr]) {
      stream.setEncoding('utf8')
      stream.on('data', (text: string) => this.#services.onConsole(text))
    }
    this.#worker.on('message', (message: FromWorker) => this.#onMessage(message))
    this.#worker.on('error', error => {
      this.#lastError = error
    })
    this.#worker.on('exit', code => this.#onWorkerExit(code))
  }

  get busy(): boolean {
    return this.#current !== undefined
  }

  get dead(): boolean {
    return this.#dead
  }

  get task(): RunningTask | undefined {
    return this.#current?.task
  }

  /** Settles with how the attempt ended; never rejects. */
  run(task: RunningTask, plan: Uint8Array, broadcasts: readonly SharedBroadcast[]): Promise<ThreadOutcome> {
    const done = Promise.withResolvers<ThreadOutcome>()
    this.#current = {
      task,
      done,
      abort: new AbortController(),
      streams: new Map(),
      written: Promise.resolve(),
      printed: 0,
      suppressed: 0,
      isLate: false,
    }
    const { send, drop } = this.#broadcasts.prepare(broadcasts)
    if (drop.length > 0) this.post({ type: 'forget-broadcasts', ids: drop })
    for (const { id, bytes } of send) this.post({ type: 'broadcast', id, bytes })
    Atomics.store(new Int32Array(this.#cancelFlag), 0, 0)
    const known = this.#plans.has(task.jobId)
    this.#plans.add(task.jobId)
    const keptFile = keptFileOf(task)
    this.post({ type: 'run', jobId: task.jobId, plan: known ? undefined : plan, input: task.input, keptFile })
    this.#watchHeap(this.#current)
    if (task.timeoutMs !== undefined) this.#watchTime(this.#current, task.timeoutMs)
    return done.promise
  }

  /**
   * V8 ends the whole process, not just the worker, when one allocation (a Map that doubles) takes the heap far over its
   * limit. So the limit is twice what a task may hold, and the task is ended here when it comes near: with garbage, a heap
   * grows to halfway between what lives and the limit, which a task that keeps to what it may hold does not reach.
   */
  #watchHeap(current: Current): void {
    const limitBytes = 1.5 * this.#oldSpaceMb * 1024 * 1024
    const look = (): void => {
      this.#worker.getHeapStatistics().then(
        ({ used_heap_size: usedBytes }) => {
          if (this.#current !== current || usedBytes <= limitBytes) return
          this.#outOfMemory = true
          void this.terminate()
        },
        () => {
          // It has ended meanwhile.
        },
      )
    }
    const timer = setInterval(look, HEAP_LOOK_MS)
    timer.unref()
    void current.done.promise.then(() => clearInterval(timer))
  }

  /** What ends well while it is being stopped has ended well. */
  #watchTime(current: Current, timeoutMs: number): void {
    const timer = setTimeout(() => {
      if (this.#current !== current) return
      current.isLate = true
      this.cancel(EXECUTOR.cancelGraceMs)
    }, timeoutMs)
    void current.done.promise.then(() => clearTimeout(timer))
  }

  /** Asks the task to stop at its next slice; ends the thread when it has not stopped after the grace time. */
  cancel(graceMs: number): void {
    const current = this.#current
    if (current === undefined) return
    Atomics.store(new Int32Array(this.#cancelFlag), 0, 1)
    current.abort.abort(new ShoalError('CANCELLED', { what: `task of ${current.task.jobId}` }))
    const timer = setTimeout(() => {
      if (this.#current === current) void this.terminate()
    }, graceMs)
    void current.done.promise.then(() => clearTimeout(timer))
  }

  forgetJob(jobId: string): void {
    if (this.#plans.delete(jobId)) this.post({ type: 'forget-job', jobId })
  }

  forgetBroadcasts(ids: readonly string[]): void {
    const known = this.#broadcasts.forget(ids)
    if (known.length > 0) this.post({ type: 'forget-broadcasts', ids: known })
  }

  post(message: ToWorker, transfer: TransferListItem[] = []): void {
    if (!this.#dead) this.#worker.postMessage(message, transfer)
  }

  async terminate(): Promise<void> {
    await this.#worker.terminate()
  }

  #onMessage(message: FromWorker): void {
    const current = this.#current
    switch (message.type) {
      case 'ended':
        this.#finish(message.outcome)
        break
      case 'read-block':
        if (current !== undefined) {
          void this.#feed(current, message.stream, signal =>
            plain(
              this.#services.readBlock(message.blockId, message.start, message.end, message.holders, signal),
            ),
          )
        }
        break
      case 'fetch-buckets':
        if (current !== undefined) {
          void this.#feed(current, message.stream, signal =>
            this.#services.fetchBuckets(message.locations, message.reduce, signal),
          )
        }
        break
      case 'credit': {
        const stream = current?.streams.get(message.stream)
        if (stream === undefined) break
        stream.credit += message.bytes
        stream.wake?.()
        break
      }
      case 'close-stream':
        current?.streams
          .get(message.stream)
          ?.abort.abort(new ShoalError('CANCELLED', { what: 'a stream nobody reads' }))
        break
      case 'fetch-kept':
        if (current !== undefined) {
          const { stream, key, holders } = message
          void this.#feed(current, stream, signal => plain(this.#services.fetchKept(key, holders, signal)))
        }
        break
      case 'room':
        if (current !== undefined) void this.#makeRoom(current, message)
        break
      case 'keep':
        if (current !== undefined) this.#services.keepPartition(current.task, message.content)
        break
      case 'printed':
        if (current !== undefined) this.#onPrinted(current, message.lines)
        break
      case 'used':
        this.#services.usedPartition(message.key, message.damaged)
        break
      case 'output':
        if (current !== undefined) {
          const { task, bytes } = message
          // One chunk after the other.
          current.written = current.written.then(() => this.#writeOutput(current, task, bytes))
        }
        break
    }
  }

  /** Passes a source on to the worker as fast as its credit allows. */
  async #feed(
    current: Current,
    id: number,
    source: (signal: AbortSignal) => AsyncIterable<{ bytes: Uint8Array; map?: number }>,
  ): Promise<void> {
    const abort = new AbortController()
    const onTaskAbort = (): void => abort.abort(current.abort.signal.reason)
    current.abort.signal.addEventListener('abort', onTaskAbort, { once: true })
    const stream = { credit: STREAM_CREDIT_BYTES, wake: undefined as (() => void) | undefined, abort }
    current.streams.set(id, stream)
    abort.signal.addEventListener('abort', () => stream.wake?.(), { once: true })
    try {
      for await (const { bytes, map } of source(abort.signal)) {
        while (stream.credit <= 0 && !abort.signal.aborted) {
          await new Promise<void>(resolve => {
            stream.wake = resolve
          })
        }
        abort.signal.throwIfAborted()
        stream.credit -= bytes.byteLength
        // The copy is the worker's own; what came may be a view of a shared buffer.
        const own = new Uint8Array(bytes)
        this.post({ type: 'chunk', stream: id, bytes: own, ...(map === undefined ? {} : { map }) }, [
          own.buffer,
        ])
      }
      this.post({ type: 'end', stream: id })
    } catch (error) {
      this.post({ type: 'error', stream: id, error: toWire(error) })
    } finally {
      current.streams.delete(id)
      current.abort.signal.removeEventListener('abort', onTaskAbort)
    }
  }

  /** For the task, not the thread: what one was granted that died is free again. */
  async #makeRoom(current: Current, message: Extract<FromWorker, { type: 'room' }>): Promise<void> {
    const { request, place, key, bytes } = message
    const granted = await this.#services.keptRoom(current.task, place, key, bytes)
    if (this.#current === current) this.post({ type: 'room-made', request, granted })
  }

  async #writeOutput(current: Current, task: number, bytes: Uint8Array): Promise<void> {
    const taken = { type: 'output-taken', task, bytes: bytes.byteLength } as const
    // Behind the end of its attempt it would begin a part file that nobody closes.
    if (this.#current !== current) return
    try {
      await this.#services.writeOutput(current.task, bytes)
      this.post(taken)
    } catch (error) {
      this.post({ ...taken, error: toWire(error) })
    }
  }

  #finish(outcome: ThreadOutcome): void {
    const current = this.#current
    if (current === undefined) return
    // Counted in shared memory, so that it is exact also of a thread that was ended.
    const suppressed = takeUntold(new Int32Array(this.#outputCounts))
    if (suppressed > 0) this.#onPrinted(current, [{ suppressed }])
    if ('metrics' in outcome && current.printed + current.suppressed > 0) {
      outcome.metrics.outputLines = current.printed
      outcome.metrics.outputSuppressed = current.suppressed
    }
    this.#current = undefined
    this.#services.taskOver(current.task)
    current.abort.abort(TASK_ENDED)
    current.done.resolve(
      current.isLate && !('metrics' in outcome) ? { type: 'failed', error: timeout(current.task) } : outcome,
    )
  }

  #onPrinted(current: Current, lines: PrintedLine[]): void {
    for (const line of lines) {
      if ('suppressed' in line) current.suppressed += line.suppressed
      else current.printed += 1
    }
    this.#services.onPrinted(current.task, lines)
  }

  #onWorkerExit(code: number): void {
    this.#dead = true
    const { code: reasonCode } = (this.#lastError ?? {}) as { code?: string }
    const memory = this.#outOfMemory || reasonCode === 'ERR_WORKER_OUT_OF_MEMORY'
    const limitBytes = this.#oldSpaceMb * 1024 * 1024
    const task = this.#current?.task.input.id
    const reason = this.#lastError?.message ?? `the worker thread exited with code ${code}`
    const error = memory
      ? new ShoalError(
          'TASK_OOM',
          { peer: '', stage: task?.stage ?? 0, partition: task?.partition ?? 0, limitBytes },
          `the task held more than the ${this.#oldSpaceMb} MB that a worker has; more partitions make smaller tasks`,
        )
      : new ShoalError('INTERNAL', { reason }, `the worker thread ended under the task: ${reason}`)
    this.#finish({ type: 'worker-died', error: toWire(error) })
    this.#onExit(this)
  }
}

/** Without the peer, which the executor adds: the same on another peer is the same failure. */
function timeout({ input: { id }, timeoutMs = 0 }: RunningTask): WireError {
  const { stage, partition } = id
  return toWire(
    new ShoalError(
      'TASK_TIMEOUT',
      { peer: '', stage, partition, timeoutMs },
      `partition ${partition} of stage ${stage} took longer than the ${timeoutMs} ms that a task of this job may`,
    ),
  )
}

async function* plain(source: AsyncIterable<Uint8Array>): AsyncGenerator<{ bytes: Uint8Array }> {
  for await (const bytes of source) yield { bytes }
}
