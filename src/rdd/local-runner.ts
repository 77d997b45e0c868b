import { crc32 } from 'node:zlib'
import { fromWire, ShoalError, type WireError } from '../base/errors.ts'
import { destroyed } from './broadcast.ts'
import { decodeRows } from './codec/index.ts'
import { DatasetContext, type DatasetOptions } from './context.ts'
import { TaskRunner } from './engine/task-runner.ts'
import type { JobRunner, KeptReport, OutputPart, PartialResult, RunOptions } from './job-runner.ts'
import { LocalFiles } from './local-files.ts'
import { MemoryKept } from './memory-kept.ts'
import { MemorySpill } from './memory-spill.ts'
import type { NodeId, Plan } from './plan.ts'
import { decodePlan, encodePlan } from './plan-codec.ts'
import { partialOf } from './partial-of.ts'
import { planStages } from './planner.ts'
import { decodeValue } from './shared-codec.ts'
import type { SharedAtRequester } from './shared-variables.ts'
import type { ShuffleLocations, Stage, TaskOutcome, TaskPorts } from './task.ts'

export interface LocalRunnerOptions {
  files?: LocalFiles
  /** Bytes a task may hold in tables and buffers before TASK_MEMORY. @default 256 MiB */
  memoryLimitBytes?: number
}

const MEMORY_LIMIT_BYTES = 256 * 1024 * 1024

type MapOutput = Extract<TaskOutcome, { type: 'map-output' }>
type Result = Extract<TaskOutcome, { type: 'result' }>

/**
 * Runs jobs in this process, one task after the other, with the engine the peers use: for tests of jobs, without a
 * mesh. Functions are captured and revived and plans encoded and decoded, so what cannot travel fails here too.
 * Result tasks run as their results are asked for.
 */
export class LocalRunner implements JobRunner {
  /** Result and map tasks that were run, by the label of their root: what a test can count. */
  readonly tasksRun = new Map<string, number>()
  readonly #engine = new TaskRunner()
  readonly #files: LocalFiles
  readonly #memoryLimitBytes: number
  readonly #spill = new MemorySpill()
  readonly #kept = new MemoryKept()
  /** Decoded once, as a worker does. */
  readonly #broadcasts = new Map<string, { is: unknown }>()
  #variables: SharedAtRequester | undefined
  #jobs = 0

  /** Bytes of kept partitions there is room for, by place: a test may lower them. */
  get keptMax(): { memory: number; disk: number } {
    return this.#kept.bytesMax
  }

  constructor(options: LocalRunnerOptions = {}) {
    this.#files = options.files ?? new LocalFiles()
    this.#memoryLimitBytes = options.memoryLimitBytes ?? MEMORY_LIMIT_BYTES
  }

  share(variables: SharedAtRequester): void {
    this.#variables = variables
  }

  async *run(given: Plan, options: RunOptions): AsyncGenerator<PartialResult, void, undefined> {
    const plan = decodePlan(encodePlan(given))
    const job = `local/${++this.#jobs}`
    const outputs = new Map<NodeId, MapOutput[]>()
    try {
      for (const stage of planStages(plan)) {
        for (const partition of stage.partitions) {
          options.signal?.throwIfAborted()
          const outcome = await this.#task(job, plan, stage, partition, outputs, options)
          if (outcome.type === 'result') yield partialOf(partition, outcome)
        }
      }
    } finally {
      this.#engine.endJob(job)
    }
  }

  forget(fingerprints: readonly string[]): void {
    this.#kept.forget(fingerprints)
  }

  async kept(fingerprints: readonly string[]): Promise<KeptReport[]> {
    return fingerprints.flatMap(fingerprint => this.#kept.report(fingerprint) ?? [])
  }

  async #task(
    job: string,
    plan: Plan,
    stage: Stage,
    partition: number,
    outputs: Map<NodeId, MapOutput[]>,
    options: RunOptions,
  ): Promise<MapOutput | Result> {
    const { root, sink } = stage
    const { label } = plan.nodes[root]!
    this.tasksRun.set(label, (this.tasksRun.get(label) ?? 0) + 1)
    const shuffles = stage.reads.map((node): ShuffleLocations => ({
      shuffle: plan.nodes[node]!.fingerprint,
      node,
      peers: (outputs.get(node) ?? []).map(() => LOCAL),
    }))
    const id = { stage: stage.id, partition, attempt: 0, term: 0 }
    const written: Uint8Array[] = []
    const ports = this.#ports(outputs, written, options)
    const ended = await this.#engine.runTask(job, plan, { id, root, sink, shuffles, holders: {} }, ports)
    const outcome =
      ended.type === 'map-file'
        ? { ...ended, type: 'map-output' as const, bytes: this.#spill.takeSealed(ended.file) }
        : ended.type === 'result-file'
          ? this.#inMemory(ended)
          : ended
    options.signal?.throwIfAborted()
    switch (outcome.type) {
      case 'failed':
        throw failure(outcome.error, stage.id, partition)
      case 'map-output': {
        if (sink.kind !== 'shuffle')
          throw new ShoalError('INTERNAL', { reason: 'a result task wrote map output' })
        const known = outputs.get(sink.node)
        if (known === undefined) outputs.set(sink.node, [outcome])
        else known.push(outcome)
        const shuffle = `${LOCAL}/${plan.nodes[sink.node]!.fingerprint}`
        if (outcome.updates !== undefined) this.#variables?.mapUpdates(shuffle, partition, outcome.updates)
        return outcome
      }
      case 'result':
        if (plan.action.kind === 'saveText' || plan.action.kind === 'saveBytes')
          this.#stage(plan.action.path, outcome, written)
        return outcome
    }
  }

  /** As the executor puts it together. */
  #inMemory({ file, updates, ...rest }: Extract<TaskOutcome, { type: 'result-file' }>): Result {
    const bytes = this.#spill.takeSealed(file)
    if (updates === undefined) return { ...rest, type: 'result', bytes }
    const whole = Buffer.concat([bytes, updates])
    const checksum = crc32(updates, rest.checksum)
    return { ...rest, type: 'result', bytes: whole, checksum, updateBytes: updates.byteLength }
  }

  #ports(outputs: ReadonlyMap<NodeId, MapOutput[]>, written: Uint8Array[], options: RunOptions): TaskPorts {
    return {
      readBlock: (blockId, start, end) => [this.#files.block(blockId).subarray(start, end)],
      fetchBuckets: async function* ({ node }, reduce) {
        for (const [map, { bytes, offsets }] of (outputs.get(node) ?? []).entries()) {
          yield { map, bytes: bytes.subarray(offsets[reduce], offsets[reduce + 1]) }
        }
      },
      kept: this.#kept,
      broadcast: id => this.#broadcast(id),
      writeOutput: async chunk => void written.push(chunk.slice()),
      cancelled: () => options.signal?.aborted === true,
      memoryLimitBytes: this.#memoryLimitBytes,
      reserveMemory: () => true,
      openSpill: () => this.#spill.open(),
    }
  }

  #broadcast(id: string): unknown {
    const source = this.#variables?.broadcast(id)
    if (source === undefined || source === 'destroyed') throw destroyed(id)
    let known = this.#broadcasts.get(id)
    if (known === undefined) this.#broadcasts.set(id, (known = { is: decodeValue(source.bytes) }))
    return known.is
  }

  #stage(directory: string, { bytes }: Result, written: readonly Uint8Array[]): void {
    const [part] = decodeRows<OutputPart>(bytes)
    if (part !== undefined) this.#files.stage(directory, part.file, Buffer.concat(written))
  }
}

const LOCAL = 'local'

/** The executor's part of a failure: where the attempt ran. */
function failure(error: WireError, stage: number, partition: number): ShoalError {
  return fromWire({ ...error, details: { ...error.details, peer: LOCAL, stage, partition, attempt: 0 } })
}

/** A context whose jobs run in this process. */
export class LocalDatasets extends DatasetContext {
  readonly files: LocalFiles
  readonly runner: LocalRunner

  constructor(options: LocalOptions = {}) {
    const { files: contents, memoryLimitBytes, ...rest } = options
    const files = new LocalFiles(contents)
    const runner = new LocalRunner({ files, ...(memoryLimitBytes !== undefined && { memoryLimitBytes }) })
    super({ ...rest, runner, files })
    this.files = files
    this.runner = runner
  }
}

export interface LocalOptions
  extends Omit<DatasetOptions, 'runner' | 'files'>, Omit<LocalRunnerOptions, 'files'> {
  /** Text files by path. */
  files?: Readonly<Record<string, string | Uint8Array>>
}

/** Datasets without a mesh: `const mesh = createLocal({ files: { '/a.txt': 'one\ntwo' } })`. */
export function createLocal(options: LocalOptions = {}): LocalDatasets {
  return new LocalDatasets(options)
}
