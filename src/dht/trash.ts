import { invariant } from '../base/index.ts'
import type { TreeNode } from './namespace-nodes.ts'
import type { NamespaceTree } from './namespace-tree.ts'
import { TRASH_NAME } from './snapshots.ts'

/** Time that did not age anything, and the log time at which it was over. */
type Leap = [atMs: number, leapMs: number]

/** Leaps remembered one by one; more are taken together, so that what lies between them goes later than it might. */
const LEAPS_MAX = 64

/** Each removal has a folder of its own in the trash, named after its log time; two at the same time follow each other by a millisecond. */
export class Trash {
  /** Names along the path that was removed, by removal; oldest first. */
  readonly #removals = new Map<number, readonly string[]>()
  /** Only those that some removal has lived through, in order. */
  #leaps: Leap[] = []
  #lastMs = 0

  get lastMs(): number {
    return this.#lastMs
  }

  oldestMs(): number | undefined {
    return this.#removals.keys().next().value
  }

  /** Removals, oldest first. */
  entries(): Iterable<[deletedMs: number, names: readonly string[]]> {
    return this.#removals
  }

  /** A new removal: the folder it goes to, which does not exist yet. */
  next(timeMs: number): number {
    return Math.max(Math.floor(timeMs), this.#lastMs + 1)
  }

  add(deletedMs: number, names: readonly string[]): void {
    this.#removals.set(deletedMs, names)
    this.#lastMs = deletedMs
  }

  delete(deletedMs: number): void {
    this.#removals.delete(deletedMs)
    const oldestMs = this.oldestMs() ?? Infinity
    this.#leaps = this.#leaps.filter(([atMs]) => atMs > oldestMs)
  }

  /** Log time has just leapt to `atMs`, and nothing is to be older because of `leapMs` of that. */
  leapt(atMs: number, leapMs: number): void {
    if (this.#removals.size === 0) return
    this.#leaps.push([atMs, leapMs])
    if (this.#leaps.length <= LEAPS_MAX) return
    const [[, first], [secondAtMs, second], ...rest] = this.#leaps as [Leap, Leap, ...Leap[]]
    this.#leaps = [[secondAtMs, first + second], ...rest]
  }

  /** How long that removal has lain here at this log time, leaps not counted. */
  ageMs(deletedMs: number, timeMs: number): number {
    const leapt = this.#leaps.reduce((sum, [atMs, leapMs]) => (atMs > deletedMs ? sum + leapMs : sum), 0)
    return timeMs - deletedMs - leapt
  }

  /** Names along the path that was removed then. */
  namesOf(deletedMs: number): readonly string[] | undefined {
    return this.#removals.get(deletedMs)
  }

  /** Where something that had this path is, if a removal has it: the one asked for, or the last. */
  find(
    tree: NamespaceTree,
    names: readonly string[],
    deletedMs?: number,
  ): { deletedMs: number; node: TreeNode } | undefined {
    const asked = deletedMs === undefined ? [...this.#removals.keys()].reverse() : [deletedMs]
    for (const time of asked) {
      const removed = this.#removals.get(time)
      // The whole of what was removed, or something in it.
      if (removed === undefined || removed.some((name, depth) => names[depth] !== name)) continue
      const node = tree.tryFind(trashNames(time, names))
      if (node !== undefined) return { deletedMs: time, node }
    }
    return undefined
  }

  snapshot(): [lastMs: number, removals: [number, readonly string[]][], leaps: Leap[]] {
    return [this.#lastMs, [...this.#removals], [...this.#leaps]]
  }

  restore([lastMs, removals, leaps]: ReturnType<Trash['snapshot']>): void {
    this.clear()
    this.#leaps = [...leaps]
    for (const [deletedMs, names] of removals) this.#removals.set(deletedMs, names)
    this.#lastMs = lastMs
  }

  clear(): void {
    this.#removals.clear()
    this.#leaps = []
    this.#lastMs = 0
  }

  assertInvariants(tree: NamespaceTree): void {
    for (const [deletedMs, names] of this.#removals) {
      invariant(tree.tryFind(trashNames(deletedMs, names)) !== undefined, `the removal ${deletedMs} is there`)
      invariant(deletedMs <= this.#lastMs, 'removals are in order')
    }
    invariant(this.#leaps.length <= LEAPS_MAX, 'leaps are bounded')
    const folders = tree.tryFind([TRASH_NAME])
    const count = folders?.kind === 'directory' ? folders.entries.size : 0
    invariant(count === this.#removals.size, 'every folder of the trash is a removal')
  }
}

export function trashNames(deletedMs: number, names: readonly string[]): string[] {
  return [TRASH_NAME, String(deletedMs), ...names]
}
