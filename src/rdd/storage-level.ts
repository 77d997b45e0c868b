import { ShoalError } from '../base/errors.ts'

/** How a kept partition is kept, as plain data: part of a plan. */
export interface KeptLevel {
  memory: boolean
  disk: boolean
  /** Peers that keep each partition. */
  copies: number
  /** There is nothing to compute it from (local checkpoint): it never makes room for another. */
  pinned?: true
}

/** The names of PySpark's levels; those of Spark that say `_SER` are what the plain ones are here: rows are kept in columns, encoded. */
export type StorageLevelName =
  | 'NONE'
  | 'MEMORY_ONLY'
  | 'MEMORY_ONLY_2'
  | 'MEMORY_AND_DISK'
  | 'MEMORY_AND_DISK_2'
  | 'DISK_ONLY'
  | 'DISK_ONLY_2'
  | 'DISK_ONLY_3'

/** Where computed partitions of an RDD are kept, and by how many peers. PySpark's constants; there are no others. */
export class StorageLevel {
  static readonly NONE = new StorageLevel('NONE', false, false, 1)
  static readonly MEMORY_ONLY = new StorageLevel('MEMORY_ONLY', true, false, 1)
  static readonly MEMORY_ONLY_2 = new StorageLevel('MEMORY_ONLY_2', true, false, 2)
  static readonly MEMORY_AND_DISK = new StorageLevel('MEMORY_AND_DISK', true, true, 1)
  static readonly MEMORY_AND_DISK_2 = new StorageLevel('MEMORY_AND_DISK_2', true, true, 2)
  static readonly DISK_ONLY = new StorageLevel('DISK_ONLY', false, true, 1)
  static readonly DISK_ONLY_2 = new StorageLevel('DISK_ONLY_2', false, true, 2)
  static readonly DISK_ONLY_3 = new StorageLevel('DISK_ONLY_3', false, true, 3)

  readonly name: StorageLevelName
  readonly useMemory: boolean
  readonly useDisk: boolean
  readonly replication: number

  private constructor(name: StorageLevelName, useMemory: boolean, useDisk: boolean, replication: number) {
    this.name = name
    this.useMemory = useMemory
    this.useDisk = useDisk
    this.replication = replication
    Object.freeze(this)
  }

  /** @throws PLAN_INVALID for a name that is none. */
  static of(level: StorageLevel | StorageLevelName): StorageLevel {
    if (level instanceof StorageLevel) return level
    const known = Object.hasOwn(StorageLevel, level) ? StorageLevel[level] : undefined
    if (known instanceof StorageLevel) return known
    const reason = `${level} is no storage level; there are ${LEVELS.join(', ')}`
    throw new ShoalError('PLAN_INVALID', { reason }, reason)
  }

  /** As PySpark prints it: `Disk Memory Serialized 2x Replicated`. */
  toString(): string {
    return levelText({ memory: this.useMemory, disk: this.useDisk, copies: this.replication })
  }
}

const LEVELS: readonly StorageLevelName[] = [
  'NONE',
  'MEMORY_ONLY',
  'MEMORY_ONLY_2',
  'MEMORY_AND_DISK',
  'MEMORY_AND_DISK_2',
  'DISK_ONLY',
  'DISK_ONLY_2',
  'DISK_ONLY_3',
]

/** Of a plan node that says no more than that it is kept. */
export const MEMORY_LEVEL: KeptLevel = { memory: true, disk: false, copies: 1 }

export function keptLevel({ useMemory, useDisk, replication }: StorageLevel): KeptLevel {
  return { memory: useMemory, disk: useDisk, copies: replication }
}

/** The level with a disk under its memory: no partition is dropped for want of memory. */
export function onDiskToo(level: StorageLevel): StorageLevel {
  if (level === StorageLevel.MEMORY_ONLY) return StorageLevel.MEMORY_AND_DISK
  return level === StorageLevel.MEMORY_ONLY_2 ? StorageLevel.MEMORY_AND_DISK_2 : level
}

/** Of two RDDs with the same data, kept once: what serves both. */
export function strongerLevel(a: KeptLevel, b: KeptLevel): KeptLevel {
  return {
    memory: a.memory || b.memory,
    disk: a.disk || b.disk,
    copies: Math.max(a.copies, b.copies),
    ...((a.pinned ?? b.pinned) === true && { pinned: true }),
  }
}

export function levelText({ memory, disk, copies }: KeptLevel): string {
  const places = `${disk ? 'Disk ' : ''}${memory ? 'Memory ' : ''}`
  return `${places}Serialized ${copies}x Replicated`
}
