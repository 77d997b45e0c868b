import { classOf, estimateBytes } from '../codec/index.ts'
import { AggregationTable, MISSED } from './aggregation-table.ts'
import { inParts, pairsBlock, type Block } from './block.ts'
import { ENGINE } from './config.ts'
import { DiskList } from './disk-list.ts'
import { moveHeavyList, type Folding } from './folding.ts'
import { tableMix } from './hashing.ts'
import { SortedRuns } from './sorted-runs.ts'
import { SpilledRows } from './spilled-rows.ts'
import type { MemoryHolding } from './task-memory.ts'
import type { TaskSpill } from './task-spill.ts'

/** Parts that what has no room is divided into, by the next four bits of the hash. */
const PARTS_BITS = 4
const PARTS = 1 << PARTS_BITS
/** Divisions of one part into parts, at most: then the bits of the hash are used up. */
const LEVELS_MAX = 32 / PARTS_BITS
/** Combined values that are measured when a table is. */
const SAMPLE_MAX = 64
/** An array of values besides them: its header, and room for some more. */
const LIST_BYTES = 96
/** Side of a row whose value is combined already. */
const COMBINED = -1

/** A record that waits: when it came, its key, its value, and the side it is of. */
type Waiting = [order: number, key: unknown, value: unknown, side: number]
/** What a key came to: when it was first seen, key, combined value. */
type Finished = [order: number, key: unknown, combined: unknown]

/**
 * Aggregates the pairs of one partition within the task's memory, with the very result and order that a table without
 * bounds would give: every value is merged in the order of its coming, keys stand in the order of their first.
 *
 * - A table that is refused memory for a new key takes no more keys, but goes on merging into those that it has. What
 *   comes of other keys waits in one of sixteen files, by hash; each is aggregated alone afterwards, the same way.
 * - When what the table holds grows nevertheless (lists of groups, sets), the list of a key that has most of the values
 *   goes to disk alone (disk-list.ts), or else the whole table goes into the sixteen files.
 * - Finished parts are runs on disk in order of first coming, merged at the end.
 */
export class SpillingTable {
  readonly table: AggregationTable
  readonly #folding: Folding
  readonly #keys: MemoryHolding
  readonly #values: MemoryHolding
  readonly #check: () => void
  #waiting: HashParts | undefined
  #order = 0
  /** Of the table's entries, once it is not all entries in order. */
  #orders: number[] | undefined
  readonly #onDisk: DiskList[] = []

  /**
   * @param holdings For the keys and for the values.
   * @param check Called now and then; throws when the attempt should stop.
   */
  constructor(folding: Folding, holdings: { keys: MemoryHolding; values: MemoryHolding }, check: () => void) {
    this.#folding = folding
    this.#keys = holdings.keys
    this.#values = holdings.values
    this.#check = check
    this.table = new AggregationTable(holdings.keys, { freezes: true })
  }

  /** For the pair whose key the table has just missed. */
  defer(key: unknown, value: unknown, side: number): void {
    const waiting = this.#divided()
    waiting.push(this.table.missedHash, [this.#order++, key, value, side])
  }

  /**
   * Looks whether the values still fit, and makes room where they do not.
   * @param listed Estimated bytes and number of the values that lists were given so far.
   */
  measure(listed: Listed): void {
    if (this.#fits(this.table, listed, this.#onDisk, false)) return
    const orders = this.#orders ?? Array.from(this.table.keys, (_, i) => i)
    this.#orders = evict(this.table, orders, this.#folding, this.#divided(), this.#values)
    // What stays has its values on disk.
    this.#values.tryResize(0)
  }

  /** Where what has no room waits. All that came so far came before it. */
  #divided(): HashParts {
    if (this.#waiting === undefined) {
      this.#waiting = new HashParts(this.#keys.spill, 0)
      this.#order = this.table.size
    }
    return this.#waiting
  }

  /**
   * The keys and what they came to. The table is used up.
   * @param onGroup Told of the key with the most values, where values are listed, now and then.
   */
  finish(onGroup: OnGroup): Iterable<Block> {
    const blocks = this.#finished(onGroup)
    return this.#waiting === undefined && this.#orders === undefined
      ? blocks
      : inParts(blocks, ENGINE.sliceElements)
  }

  *#finished(onGroup: OnGroup): Generator<Block, void, undefined> {
    const { table } = this
    const folding = this.#folding
    const heavy: Finished[] = []
    if (this.#orders !== undefined) {
      for (const [i, order] of this.#orders.entries()) {
        heavy.push([order, table.keys[i], shownValue(folding, table.values[i])])
      }
    } else {
      const values =
        this.#onDisk.length === 0 ? table.values : table.values.map(value => shownValue(folding, value))
      yield counted(pairsBlock(table.keys, values, table.size), folding, onGroup)
    }
    if (this.#waiting === undefined && heavy.length === 0) return
    table.clear()
    this.#values.tryResize(0)
    const spill = this.#keys.spill
    const runs = new SortedRuns(spill, BY_ORDER)
    const todo = this.#waiting?.filled() ?? []
    for (let each = todo.shift(); each !== undefined; each = todo.shift()) {
      const { parts, part } = each
      const deeper = this.#aggregate(parts.rowsOf(part), parts.level + 1, runs, heavy)
      if (parts.isDone(part)) spill.close(parts.file)
      if (deeper !== undefined) todo.unshift(...deeper.filled())
    }
    heavy.sort((left, right) => left[0] - right[0])
    for (const rows of runs.merged([heavy], this.#check)) {
      const keys: unknown[] = []
      const values: unknown[] = []
      for (const row of rows as Finished[]) {
        keys.push(row[1])
        values.push(row[2])
      }
      yield counted(pairsBlock(keys, values, keys.length), folding, onGroup)
    }
  }

  /** One part alone. What still does not fit is divided further, and returned. */
  #aggregate(rows: SpilledRows, level: number, runs: SortedRuns, heavy: Finished[]): HashParts | undefined {
    const folding = this.#folding
    const table = new AggregationTable(this.#keys, { freezes: true })
    let orders: number[] = []
    let deeper: HashParts | undefined
    const divided = (): HashParts => (deeper ??= new HashParts(this.#keys.spill, level))
    const listed: Listed = { valueBytes: 0, seen: 0 }
    const onDisk: DiskList[] = []
    for (const batch of rows.batches()) {
      this.#check()
      for (let i = 0; i < batch.length; i++) {
        const row = batch[i] as Waiting
        const [order, key, value, side] = row
        const at = table.locate(key)
        if (at === MISSED) {
          divided().push(table.missedHash, row)
          continue
        }
        if ((listed.seen++ & 15) === 0) listed.valueBytes += 16 * estimateBytes(value)
        if (at >= 0) table.values[at] = folding.merge(table.values[at], value, side)
        else {
          table.values.push(side === COMBINED ? value : folding.create(value, side))
          orders.push(order)
        }
      }
      if (this.#fits(table, listed, onDisk, level >= LEVELS_MAX)) continue
      // Nothing is left to divide: the combined value of one key, or of keys whose hashes are the same.
      if (folding.lists === null && (table.size === 1 || level >= LEVELS_MAX)) {
        throw this.#values.refusal(combinedBytes(table.values))
      }
      orders = evict(table, orders, folding, divided(), this.#values)
      this.#values.tryResize(0)
    }
    const finished: Finished[] = []
    for (const [i, order] of orders.entries()) {
      const row: Finished = [order, table.keys[i], table.values[i]]
      if (isOnDisk(folding, row[2])) heavy.push([row[0], row[1], shownValue(folding, row[2])])
      else finished.push(row)
    }
    // What was evicted stands behind what waited before, though it came earlier.
    finished.sort((left, right) => left[0] - right[0])
    runs.add(finished)
    table.clear()
    this.#values.tryResize(0)
    return deeper
  }

  /** True when what the table holds is within the memory; lists that are too long go to disk first. */
  #fits(table: AggregationTable, listed: Listed, onDisk: DiskList[], force: boolean): boolean {
    const folding = this.#folding
    if (folding.lists === null) return this.#values.tryResize(combinedBytes(table.values))
    while (!this.#values.tryResize(listBytes(table, listed, onDisk))) {
      const moved = moveHeavyList(folding, table.values, this.#values.spill, force)
      if (moved === null) return force
      onDisk.push(moved)
    }
    return true
  }
}

/** What lists were given: estimated bytes, and how many values. */
interface Listed {
  valueBytes: number
  seen: number
}

/** What the lists of a table take, without those on disk. */
function listBytes(
  table: AggregationTable,
  { valueBytes, seen }: Listed,
  onDisk: readonly DiskList[],
): number {
  let moved = 0
  for (const list of onDisk) moved += list.length
  const listed = seen === 0 ? 0 : Math.max(0, valueBytes * (1 - moved / seen))
  return Math.ceil(listed) + table.size * LIST_BYTES
}

const BY_ORDER = {
  keysOf: (rows: readonly unknown[]) => rows.map(row => (row as Finished)[0]),
  compare: (left: unknown, right: unknown) => (left as number) - (right as number),
}

/** Records by the bits of their hash that belong to the level. */
class HashParts {
  readonly level: number
  readonly file
  readonly #spill: TaskSpill
  readonly #rows: (SpilledRows | undefined)[] = Array.from({ length: PARTS })
  #left = 0

  constructor(spill: TaskSpill, level: number) {
    this.level = level
    this.#spill = spill
    this.file = spill.open()
  }

  push(hash: number, row: Waiting): void {
    const part = (tableMix(hash) >>> (32 - PARTS_BITS * ((this.level % LEVELS_MAX) + 1))) & (PARTS - 1)
    let rows = this.#rows[part]
    if (rows === undefined) {
      this.#rows[part] = rows = new SpilledRows(this.file, this.#spill)
      this.#left++
    }
    rows.push(row)
  }

  filled(): { parts: HashParts; part: number }[] {
    const filled: { parts: HashParts; part: number }[] = []
    for (const [part, rows] of this.#rows.entries()) {
      if (rows === undefined) continue
      rows.flush()
      filled.push({ parts: this, part })
    }
    return filled
  }

  rowsOf(part: number): SpilledRows {
    return this.#rows[part]!
  }

  /** The part was read. True when it was the last. */
  isDone(part: number): boolean {
    this.#rows[part] = undefined
    return --this.#left === 0
  }
}

/**
 * Every entry of the table goes where its key belongs, except those whose values are on disk already: what stays are
 * their orders. The table takes no new key any more.
 */
function evict(
  table: AggregationTable,
  orders: readonly number[],
  folding: Folding,
  parts: HashParts,
  memory: MemoryHolding,
): number[] {
  const hashes = table.keyHashes()
  const kept: Finished[] = []
  for (const [i, order] of orders.entries()) {
    const [key, value] = [table.keys[i], table.values[i]]
    if (folding.lists === null) {
      if (!isPlain(value)) throw memory.refusal(combinedBytes(table.values))
      parts.push(hashes[i]!, [order, key, value, COMBINED])
    } else if (isOnDisk(folding, value)) kept.push([order, key, value])
    else {
      for (const [side, list] of folding.lists(value).entries()) {
        for (const each of list as unknown[]) parts.push(hashes[i]!, [order, key, each, side])
      }
    }
  }
  table.clear()
  for (const [, key, value] of kept) {
    table.restore(key)
    table.values.push(value)
  }
  table.freeze()
  return kept.map(([order]) => order)
}

/** What comes back from disk as it was: instances of classes that are not declared would lose their methods. */
function isPlain(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return typeof value !== 'function'
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return (
    typeof prototype !== 'object' ||
    prototype === null ||
    PLAIN.has(prototype) ||
    classOf(value) !== undefined
  )
}

const PLAIN = new Set<unknown>([Object.prototype, Map.prototype, Set.prototype, Date.prototype])

/** Bytes that combined values take, from some of them. Numbers are in the table's own estimate. */
export function combinedBytes(values: readonly unknown[]): number {
  const step = Math.max(1, Math.floor(values.length / SAMPLE_MAX))
  let bytes = 0
  let sampled = 0
  for (let i = 0; i < values.length; i += step) {
    sampled++
    const value = values[i]
    if (typeof value !== 'number') bytes += estimateBytes(value)
  }
  return sampled === 0 ? 0 : Math.ceil((bytes / sampled) * values.length)
}

function isOnDisk({ lists }: Folding, value: unknown): boolean {
  return lists !== null && lists(value).some(list => list instanceof DiskList)
}

/** As the user's functions see it. */
function shownValue(folding: Folding, value: unknown): unknown {
  if (!isOnDisk(folding, value)) return value
  const lists = folding.lists!(value).map(list =>
    list instanceof DiskList ? list.asArray() : (list as unknown[]),
  )
  return folding.fromLists(lists)
}

type OnGroup = (values: number, key: unknown) => void

function counted(block: Block, { lists }: Folding, onGroup: OnGroup): Block {
  if (lists === null) return block
  let most = 0
  let at = 0
  for (let i = 0; i < block.end; i++) {
    for (const list of lists(block.b[i])) {
      if (list.length <= most) continue
      most = list.length
      at = i
    }
  }
  if (most > 0) onGroup(most, block.a[at])
  return block
}
