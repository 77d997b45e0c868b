import { ShoalError } from '../base/index.ts'
import type { Model } from './model.ts'
import type { Operation } from './operation.ts'

export interface CheckOptions {
  /** Most combinations of "these have happened" and state that are looked at in one part of a history. @default 2_000_000 */
  configurationsMax?: number
}

/** Where no order could be found any more. */
export interface Violation {
  /** Of the part of the history: a key, or several. */
  part: string
  /** The longest order that works; whatever comes next does not. */
  prefix: Operation[]
  /** Known operations that had to come next, one of them, and could not. */
  stuck: Operation[]
  /** State after the prefix, as the model writes it. */
  state: string
}

export interface CheckResult {
  /** `undecided`: no violation was found, but the search in at least one part had to be given up. */
  verdict: 'linearizable' | 'violated' | 'undecided'
  operations: number
  parts: number
  /** Looked at, in all parts. */
  configurations: number
  violations: Violation[]
  /** Parts in which the search was given up. */
  undecided: string[]
}

const CONFIGURATIONS_MAX = 2_000_000

/**
 * Is there an order of the operations in which each happens between its call and its return and a single copy of the
 * thing would have answered the same? By the algorithm of Wing and Gong in Lowe's form (as in Porcupine): depth first
 * over the calls that may come next, each combination of operations done and state seen once. Operations of unknown
 * outcome may happen at any time after their call, or never.
 * @throws BAD_MESSAGE when the history is not one of this model.
 */
export function checkLinearizable<State>(
  model: Model<State>,
  history: readonly Operation[],
  options: CheckOptions = {},
): CheckResult {
  for (const operation of history) {
    if (!model.operations.includes(operation.op)) throw unknownOperation(model.name, operation)
  }
  const configurationsMax = options.configurationsMax ?? CONFIGURATIONS_MAX
  const violations: Violation[] = []
  const undecided: string[] = []
  const parts = model.split(history)
  let configurations = 0
  for (const [part, operations] of parts) {
    const search = new Search(model, operations, configurationsMax)
    const verdict = search.run()
    configurations += search.configurations
    if (verdict === 'violated') violations.push({ part, ...search.furthest() })
    if (verdict === 'undecided') undecided.push(part)
  }
  const verdict = violations.length > 0 ? 'violated' : undecided.length > 0 ? 'undecided' : 'linearizable'
  return { verdict, operations: history.length, parts: parts.size, configurations, violations, undecided }
}

/** A call or a return in the list of what has not happened yet, in order of time. */
interface Entry {
  operation: number
  isCall: boolean
  before: Entry | undefined
  after: Entry | undefined
  /** Of a call whose return is known. */
  match: Entry | undefined
}

interface Step<State> {
  call: Entry
  stateBefore: State
}

/** One search in one part of a history. */
class Search<State> {
  readonly #model: Model<State>
  /** Known outcomes first, by call; then the unknown ones, which hardly ever are needed. */
  readonly #operations: readonly Operation[]
  readonly #knownCount: number
  readonly #max: number
  readonly #done: Uint8Array
  readonly #seen = new Set<string>()
  /** Sentinel before the first entry. */
  readonly #head: Entry = {
    operation: -1,
    isCall: false,
    before: undefined,
    after: undefined,
    match: undefined,
  }
  /** Of each unknown operation, the one called before it that is the same but for the time; -1 if none. */
  readonly #twins: Int32Array
  /** Known operations before this one are all done; this one is not. */
  #gap = 0
  #furthest: { order: number[]; stuck: number[]; state: State }

  constructor(model: Model<State>, history: readonly Operation[], configurationsMax: number) {
    const byCall = history.toSorted((a, b) => a.call - b.call)
    const known = byCall.filter(({ output }) => output !== null)
    this.#model = model
    this.#operations = [...known, ...byCall.filter(({ output }) => output === null)]
    this.#knownCount = known.length
    this.#max = configurationsMax
    this.#done = new Uint8Array(this.#operations.length)
    this.#twins = twinsOf(this.#operations, known.length)
    this.#furthest = { order: [], stuck: [], state: model.init() }
    this.#link()
  }

  get configurations(): number {
    return this.#seen.size
  }

  furthest(): Omit<Violation, 'part'> {
    const { order, stuck, state } = this.#furthest
    const named = (list: number[]): Operation[] => list.map(index => this.#operations[index]!)
    return { prefix: named(order), stuck: named(stuck), state: this.#model.fingerprint(state) }
  }

  run(): 'linearizable' | 'violated' | 'undecided' {
    const path: Step<State>[] = []
    let state = this.#model.init()
    let knownLeft = this.#knownCount
    let entry = this.#head.after
    while (knownLeft > 0) {
      if (entry?.isCall === true) {
        const { operation } = entry
        const next = this.#step(state, operation)
        if (next === undefined || !this.#isNew(operation, next)) {
          entry = entry.after
          continue
        }
        if (this.#seen.size > this.#max) return 'undecided'
        path.push({ call: entry, stateBefore: state })
        this.#mark(operation)
        if (operation < this.#knownCount) knownLeft--
        state = next
        lift(entry)
        entry = this.#head.after
        continue
      }
      // A return: what it ends must have happened, and nothing before it could. Or the end, of which the same is true.
      this.#remember(path, state)
      const last = path.pop()
      if (last === undefined) return 'violated'
      const { operation } = last.call
      this.#unmark(operation)
      if (operation < this.#knownCount) knownLeft++
      state = last.stateBefore
      unlift(last.call)
      entry = last.call.after
    }
    return 'linearizable'
  }

  /** The state after it; undefined when it cannot come next, or when its coming next could not help. */
  #step(state: State, operation: number): State | undefined {
    const isKnown = operation < this.#knownCount
    // Of equal ones of unknown outcome the first called can stand for the others: those orders are enough.
    if (!isKnown && this.#twins[operation] !== -1 && this.#done[this.#twins[operation]!] === 0)
      return undefined
    const next = this.#model.step(state, this.#operations[operation]!)
    if (next === undefined || isKnown) return next
    return this.#model.fingerprint(next) === this.#model.fingerprint(state) ? undefined : next
  }

  /** Links all calls and known returns in order of time; of one instant the calls come first, since both may overlap. */
  #link(): void {
    const timed: { atNs: number; entry: Entry }[] = []
    for (const [index, { call, return: returned }] of this.#operations.entries()) {
      const blank = { operation: index, before: undefined, after: undefined, match: undefined }
      const entry: Entry = { ...blank, isCall: true }
      timed.push({ atNs: call, entry })
      if (returned === null) continue
      entry.match = { ...blank, isCall: false }
      timed.push({ atNs: returned, entry: entry.match })
    }
    timed.sort((a, b) => a.atNs - b.atNs || Number(b.entry.isCall) - Number(a.entry.isCall))
    let before = this.#head
    for (const { entry } of timed) {
      before.after = entry
      entry.before = before
      before = entry
    }
  }

  /** Whether the search has not been here; from now on it has. */
  #isNew(operation: number, state: State): boolean {
    this.#mark(operation)
    const key = `${this.#doneKey()}|${this.#model.fingerprint(state)}`
    this.#unmark(operation)
    if (this.#seen.has(key)) return false
    this.#seen.add(key)
    return true
  }

  #mark(operation: number): void {
    this.#done[operation] = 1
    while (this.#gap < this.#knownCount && this.#done[this.#gap] === 1) this.#gap++
  }

  #unmark(operation: number): void {
    this.#done[operation] = 0
    this.#gap = Math.min(this.#gap, operation)
  }

  /** What is done, short: all known ones before a first gap, those known beyond it, and the unknown ones. */
  #doneKey(): string {
    const gap = this.#gap
    let key = String(gap)
    const gapEndNs = this.#operations[gap]?.return ?? Infinity
    for (let i = gap + 1; i < this.#knownCount; i++) {
      // Nothing that begins after the gap's end can be done before the gap is.
      if (this.#operations[i]!.call > gapEndNs) break
      if (this.#done[i] === 1) key += `,${i}`
    }
    for (let i = this.#knownCount; i < this.#done.length; i++) if (this.#done[i] === 1) key += `,${i}`
    return key
  }

  #remember(path: readonly Step<State>[], state: State): void {
    if (path.length < this.#furthest.order.length) return
    if (path.length === this.#furthest.order.length && path.length > 0) return
    const stuck: number[] = []
    for (let entry = this.#head.after; entry?.isCall === true; entry = entry.after) {
      if (entry.operation < this.#knownCount) stuck.push(entry.operation)
    }
    this.#furthest = { order: path.map(({ call }) => call.operation), stuck, state }
  }
}

function twinsOf(operations: readonly Operation[], knownCount: number): Int32Array {
  const latest = new Map<string, number>()
  return Int32Array.from(operations, ({ op, key, input }, index) => {
    if (index < knownCount) return -1
    const identity = JSON.stringify([op, key, input])
    const twin = latest.get(identity) ?? -1
    latest.set(identity, index)
    return twin
  })
}

function lift(call: Entry): void {
  for (const entry of call.match === undefined ? [call] : [call, call.match]) {
    entry.before!.after = entry.after
    if (entry.after !== undefined) entry.after.before = entry.before
  }
}

/** Undoes `lift`; in the opposite order, since both may have been neighbours. */
function unlift(call: Entry): void {
  for (const entry of call.match === undefined ? [call] : [call.match, call]) {
    entry.before!.after = entry
    if (entry.after !== undefined) entry.after.before = entry
  }
}

function unknownOperation(model: string, { op, process, call }: Operation): ShoalError {
  return new ShoalError(
    'BAD_MESSAGE',
    { type: op, reason: `the ${model} model has no operation ${op}` },
    `the history has an operation ${op} (of ${process}, called at ${call} ns), which the ${model} model does not know; ` +
      'check it with another --model',
  )
}
