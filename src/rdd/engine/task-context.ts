import { inspect } from 'node:util'
import { ShoalError } from '../../base/errors.ts'
import type { FunctionRef, Plan, PlanNode } from '../plan.ts'
import type { TaskInput, TaskMetrics, TaskPorts } from '../task.ts'
import { invalid } from './branch.ts'
import { resolveFunction } from './builtins.ts'
import type { UserFunction } from './fused-loop.ts'
import { partitionFunction, type PartitionOf } from './partition-function.ts'
import type { PipelineContext } from './pipeline.ts'
import type { StageCode } from './stage-code.ts'
import { TaskMemory } from './task-memory.ts'
import { TaskSpill } from './task-spill.ts'

/** What the runner of a worker gives each of its tasks. */
export interface TaskEnvironment {
  ports: TaskPorts
  /** Where compiled things of the job are kept. */
  code: StageCode
  /** Begins the names of compiled functions: unique in the thread for this (job, stage). */
  scope: string
  /** Makes the function of a captured closure, anew with each call. */
  revive: (closure: Uint8Array) => Function
}

/** One attempt's plan, ports, memory and figures, and the functions of its stage. */
export class TaskContext implements PipelineContext {
  readonly plan: Plan
  readonly input: TaskInput
  readonly ports: TaskPorts
  readonly metrics: TaskMetrics = {
    recordsRead: 0,
    bytesRead: 0,
    bytesFetched: 0,
    bytesWritten: 0,
    durationMs: 0,
    cacheHits: 0,
    spilledBytes: 0,
    spilledRecords: 0,
    peakBytes: 0,
    largestGroup: 0,
  }
  readonly #environment: TaskEnvironment
  readonly #memory: TaskMemory
  readonly #spill: TaskSpill
  readonly #startedMs = performance.now()
  readonly #startedCpu = process.threadCpuUsage()
  #largestKey: unknown

  constructor(plan: Plan, input: TaskInput, environment: TaskEnvironment) {
    this.plan = plan
    this.input = input
    this.ports = environment.ports
    this.#environment = environment
    const { ports } = environment
    this.#spill = new TaskSpill(() => ports.openSpill('scratch'))
    this.#memory = new TaskMemory(
      ports.memoryLimitBytes,
      totalBytes => ports.reserveMemory(totalBytes),
      this.#spill,
    )
  }

  get partition(): number {
    return this.input.id.partition
  }

  checkCancelled(): void {
    if (!this.ports.cancelled()) return
    const what = `partition ${this.input.id.partition} of stage ${this.input.id.stage}`
    throw new ShoalError('CANCELLED', { what }, `${what} was cancelled`)
  }

  countRead(elements: number): void {
    this.metrics.recordsRead += elements
  }

  countGroup(values: number, key: unknown): void {
    if (values <= this.metrics.largestGroup) return
    this.metrics.largestGroup = values
    this.#largestKey = key
  }

  holding(operator: string): ReturnType<TaskMemory['holding']> {
    return this.#memory.holding(operator)
  }

  /** Files of the attempt. */
  get spill(): TaskSpill {
    return this.#spill
  }

  /** What `make` returned for this key the first time in this (job, stage); it gets a name for compiled text. */
  once<T>(key: string, make: (name: string) => T): T {
    const name = `${this.#environment.scope}:${key}`
    return this.#environment.code.once(name, () => make(name))
  }

  /** A fresh copy of a function: each pipeline has its own. */
  function(ref: FunctionRef): UserFunction {
    const revive = (id: number): UserFunction => {
      const closure = this.plan.closures[id]
      if (closure === undefined) throw invalid(`there is no closure ${id}`)
      return this.#environment.revive(closure) as UserFunction
    }
    return resolveFunction(ref, revive, this.#environment.scope)
  }

  /** Null for hash partitioning, which loops have inlined. */
  partitionOf({ by, fingerprint }: Extract<PlanNode, { op: 'shuffle' }>): PartitionOf | null {
    if (by.kind === 'hash') return null
    return this.once(`partitioner ${fingerprint}`, () => partitionFunction(by, ref => this.function(ref)))
  }

  finishedMetrics(bytesWritten: number, recordsWritten: number): TaskMetrics {
    this.metrics.bytesWritten += bytesWritten
    this.metrics.recordsWritten ??= recordsWritten
    const { user, system } = process.threadCpuUsage(this.#startedCpu)
    this.metrics.cpuMs = (user + system) / 1_000
    if (this.metrics.largestGroup > 0) this.metrics.largestKey = shownKey(this.#largestKey)
    this.metrics.durationMs = performance.now() - this.#startedMs
    this.metrics.spilledBytes = this.#spill.bytes
    this.metrics.spilledRecords = this.#spill.records
    this.metrics.peakBytes = this.#memory.peakBytes
    return this.metrics
  }

  /** The attempt is over: what it had of memory and disk is given back. */
  close(): void {
    this.#spill.closeAll()
    this.ports.reserveMemory(0)
  }
}

/** Enough of a key to know it by. */
const KEY_CHARS_MAX = 80

function shownKey(key: unknown): string {
  const text = typeof key === 'string' ? key : inspect(key, { depth: 1, breakLength: Infinity })
  return text.length <= KEY_CHARS_MAX ? text : `${text.slice(0, KEY_CHARS_MAX)}…`
}
