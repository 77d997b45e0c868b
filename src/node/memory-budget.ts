import { totalmem } from 'node:os'
import { ShoalError } from '../base/index.ts'
import { PEER } from './config.ts'

const MIB = 2 ** 20

/** What a peer may hold, in bytes, by what it is for. */
export interface MemoryBudget {
  /** One task, in tables and buffers… */
  taskBytes: number
  /** …and all that run, together. */
  tasksBytes: number
  /** Cached partitions. */
  cacheBytes: number
  /** Sealed outputs. */
  outputBytes: number
  /** Heap of one worker thread, in MiB: what its task may hold, and what user code holds beside. */
  oldSpaceMb: number
}

export type MemoryOptions = Partial<MemoryBudget> & { memoryBytes?: number }

/**
 * Divides what one number says: a third for tasks, a quarter for cached partitions, an eighth for outputs. The rest is
 * for what nobody counts beforehand: garbage in the heaps, which grow to one and a half times of what lives in them, and
 * bytes on their way between peers and threads. Parts that are named themselves stay as they are; without `memoryBytes`
 * so do all (PEER).
 * @throws CONFIG_INVALID below `PEER.memoryBytesMin`
 */
export function memoryBudget({ memoryBytes, ...named }: MemoryOptions): MemoryBudget {
  if (memoryBytes === undefined) {
    const tasksBytes = named.tasksBytes ?? Math.floor(totalmem() / PEER.tasksMemoryDivisor)
    const { outputBytes, cacheBytes, taskBytes, oldSpaceMb } = PEER
    return { outputBytes, cacheBytes, taskBytes, oldSpaceMb, ...named, tasksBytes }
  }
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes < PEER.memoryBytesMin) {
    const reason = `it must be at least ${PEER.memoryBytesMin / MIB} MiB in whole bytes, not ${memoryBytes}`
    throw new ShoalError('CONFIG_INVALID', { option: 'memoryBytes', reason }, `memoryBytes: ${reason}`)
  }
  const tasksBytes = named.tasksBytes ?? Math.floor(memoryBytes / PEER.memoryForTasks)
  const taskBytes = named.taskBytes ?? tasksBytes
  return {
    tasksBytes,
    taskBytes,
    cacheBytes: named.cacheBytes ?? Math.floor(memoryBytes / PEER.memoryForCache),
    outputBytes: named.outputBytes ?? Math.floor(memoryBytes / PEER.memoryForOutputs),
    oldSpaceMb: named.oldSpaceMb ?? Math.ceil((PEER.heapPerTaskByte * taskBytes) / MIB) + PEER.heapFreeMb,
  }
}
