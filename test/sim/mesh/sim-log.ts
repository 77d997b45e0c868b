import { pack, pick, unpack } from '../../../src/base/index.ts'
import type { ApplyContext, PeerId, Random } from '../../../src/base/index.ts'
import { ReplicatedState } from '../../../src/node/replicated-state.machine.ts'
import type { LogCommand, LogResult } from '../../../src/node/replicated-state.machine.ts'
import type { LogUser, RaftProgram } from '../raft-program.ts'
import type { Surroundings } from '../world.ts'
import { canonical, SIM_SLOTS } from './mesh-checker.ts'
import type { MeshChecker } from './mesh-checker.ts'
import type { Calls, Failure, Reply } from './sim-calls.ts'
import { pause, waitFor } from './task.ts'
import type { Task } from './task.ts'

export interface LogMutant {
  /** A command is applied with the time of the peer that applies it. */
  appliesWithWallClock?: boolean
  /** Each try of a mutation is a new one to the state machine. */
  newSessionEachTry?: boolean
  /** What clients were answered is not restored from a snapshot. */
  forgetsSessionsInSnapshot?: boolean
  /** How often the owners of a slot changed is not restored from a snapshot. */
  forgetsFencesInSnapshot?: boolean
  /** The first command after a restore (or of an empty state) is applied a second time, whoever sent it. */
  appliesTwiceAfterRestore?: boolean
  /** A read is answered from what is applied here. */
  readsWithoutBarrier?: boolean
}

export type Outcome = { ok: true; index: number; result: LogResult } | Failure

const TRY_MS = 2_000
const WAIT_MS = 10_000
const RETRY_MIN_MS = 50
const RETRY_MAX_MS = 1_000
/** Codes that say that the command was not appended by whoever answered. */
const NOT_APPENDED = new Set(['NOT_LEADER', 'BUSY'])

export interface SimLogInit {
  around: Surroundings
  checker: MeshChecker
  mutant: LogMutant
  nextCommand: () => number
  /** After each command was applied, or the whole state was replaced (without command). */
  onApplied: (command: LogCommand | undefined) => void
  onLeads: (leads: boolean) => void
}

/** The replicated state of one simulated peer, and the way of its commands to whoever leads (as MeshLog does it). */
export class SimLog implements LogUser {
  readonly state = new ReplicatedState({ slotCount: SIM_SLOTS })
  /** Index of the command applied last; undefined after a restore, until the next one. */
  stateIndex: number | undefined
  readonly #init: SimLogInit
  #raft: RaftProgram | undefined
  #calls: Calls | undefined
  readonly #clientId: string
  #seq = 0
  readonly #results = new Map<number, LogResult>()
  readonly #proposals = new Map<number, (reply: Reply<'propose'>) => void>()
  readonly #reads = new Map<string, (index: number | undefined) => void>()
  #waiters: { index: number; done: (applied: boolean) => void }[] = []

  constructor(init: SimLogInit) {
    this.#init = init
    const { self, random } = init.around
    this.#clientId = `${self}-${Math.floor(random.next() * 1e9)}`
  }

  connect(raft: RaftProgram, calls: Calls): void {
    this.#raft = raft
    this.#calls = calls
  }

  get raft(): RaftProgram {
    if (this.#raft === undefined) throw new Error('the log is not connected yet')
    return this.#raft
  }

  get appliedIndex(): number {
    return this.raft.appliedIndex
  }

  // ---- What the log says

  apply(data: Uint8Array, context: ApplyContext): string {
    const { around, checker, mutant, onApplied } = this.#init
    const command = unpack(data) as LogCommand
    const timeMs = mutant.appliesWithWallClock === true ? around.wallMs() : context.timeMs
    let result = this.state.apply(command, { ...context, timeMs })
    if (mutant.appliesTwiceAfterRestore === true && this.stateIndex === undefined)
      result = this.state.apply(unnamed(command), { ...context, timeMs })
    const answer = canonical(result)
    this.stateIndex = context.index
    if (this.#proposals.size > 0) this.#results.set(context.index, result)
    checker.applied(around.self, command, context, answer)
    onApplied(command)
    return answer
  }

  snapshot(): Uint8Array {
    return pack(this.state.snapshot())
  }

  restore(data: Uint8Array): void {
    const parts = unpack(data) as SnapshotPart[]
    const { forgetsSessionsInSnapshot: forgets = false, forgetsFencesInSnapshot = false } = this.#init.mutant
    if (forgetsFencesInSnapshot) forgetFences(parts[0])
    this.state.restore(parts.filter(({ kind }) => !forgets || kind !== 'sessions'))
    this.stateIndex = undefined
    this.state.assertInvariants()
    if (this.#raft !== undefined) this.#init.onApplied(undefined)
  }

  committed(id: number, index: number): void {
    const done = this.#proposals.get(id)
    this.#proposals.delete(id)
    const result = this.#results.get(index)
    this.#results.delete(index)
    if (result !== undefined) done?.({ ok: true, index, result })
  }

  refused(id: number, code: string, leader: PeerId | undefined): void {
    const done = this.#proposals.get(id)
    this.#proposals.delete(id)
    done?.({ ok: false, code, leader })
  }

  readAnswered(id: string, index: number | undefined): void {
    const done = this.#reads.get(id)
    this.#reads.delete(id)
    done?.(index)
  }

  leads(leads: boolean): void {
    this.#init.onLeads(leads)
  }

  /** After each step of the log: whoever waited for an index may go on. */
  settle(): void {
    if (this.#waiters.length === 0) return
    const applied = this.appliedIndex
    const due = this.#waiters.filter(({ index }) => index <= applied)
    this.#waiters = this.#waiters.filter(({ index }) => index > applied)
    for (const { done } of due) done(true)
  }

  // ---- What this peer wants of it

  /** As the leader's side of `propose`. */
  *proposeHere(command: LogCommand): Task<Reply<'propose'>> {
    const number = this.#init.nextCommand()
    return yield* waitFor<Reply<'propose'>>(done => {
      this.raft.propose(number, pack(command), id => this.#proposals.set(id, done))
    })
  }

  /**
   * Through whoever leads; the answer comes when the entry is applied here too. Quietly again for a while.
   * @param others asked who leads while this peer does not know, as a joiner must
   */
  *propose(command: LogCommand, others: readonly PeerId[] = []): Task<Outcome> {
    const { around, mutant } = this.#init
    const untilMs = around.nowMs() + WAIT_MS
    let named = this.#named(command)
    let pauseMs = RETRY_MIN_MS
    let hint: PeerId | undefined
    // An earlier try may still take effect, whatever a later one is told.
    let maybeAppended = false
    for (;;) {
      const leader = hint ?? this.raft.machine.leader ?? pick(around.random, others)
      hint = undefined
      if (leader !== undefined) {
        const reply: Reply<'propose'> =
          leader === around.self
            ? yield* this.proposeHere(named)
            : yield* this.#calls!.call(leader, 'propose', { command: named }, TRY_MS)
        if (reply.ok) {
          const applied = yield* this.applied(reply.index)
          return applied ? reply : { ok: false, code: 'UNKNOWN_OUTCOME' }
        }
        if (!NOT_APPENDED.has(reply.code)) maybeAppended = true
        if (reply.leader !== leader) hint = reply.leader
        if (mutant.newSessionEachTry === true) named = this.#named(command)
      }
      if (around.nowMs() >= untilMs)
        return { ok: false, code: maybeAppended ? 'UNKNOWN_OUTCOME' : 'NO_QUORUM' }
      yield* pause(around, pauseMs * (0.5 + around.random.next()))
      pauseMs = Math.min(2 * pauseMs, RETRY_MAX_MS)
    }
  }

  /** Until everything acknowledged anywhere before the call is applied here; false when nobody could say in time. */
  *barrier(): Task<boolean> {
    const { around, mutant } = this.#init
    if (mutant.readsWithoutBarrier === true) return true
    const untilMs = around.nowMs() + WAIT_MS
    for (;;) {
      const index = yield* waitFor<number | undefined>(done => {
        let id = ''
        this.raft.read(begun => {
          id = begun
          this.#reads.set(begun, done)
        })
        around.after(TRY_MS, () => this.readAnswered(id, undefined))
      })
      if (index !== undefined) return yield* this.applied(index)
      if (around.nowMs() >= untilMs) return false
      yield* pause(around, RETRY_MIN_MS + 200 * around.random.next())
    }
  }

  *applied(index: number): Task<boolean> {
    return yield* waitFor<boolean>(done => {
      if (this.appliedIndex >= index) {
        done(true)
        return
      }
      this.#waiters.push({ index, done })
      this.#init.around.after(WAIT_MS, () => done(false))
    })
  }

  #named(command: LogCommand): LogCommand {
    if (command.part !== 'dht' || 'batch' in command.command) return command
    const session = { clientId: this.#clientId, seq: ++this.#seq }
    return { part: 'dht', command: { ...command.command, session } }
  }
}

/** As a client would have sent it that does not want it to be recognized. */
function unnamed(command: LogCommand): LogCommand {
  if (command.part !== 'dht' || 'batch' in command.command) return command
  const { session: _, ...rest } = command.command
  return { part: 'dht', command: rest }
}

interface SnapshotPart {
  kind?: string
  slots?: { rows: [epoch: number, ...rest: unknown[]][] }
}

function forgetFences(part: SnapshotPart | undefined): void {
  for (const row of part?.slots?.rows ?? []) row[0] = Math.min(row[0], 1)
}

/** Random identifiers in hexadecimal, `words` times eight digits. */
export function hexOf(random: Random, words: number): string {
  let text = ''
  for (let i = 0; i < words; i++)
    text += Math.floor(random.next() * 2 ** 32)
      .toString(16)
      .padStart(8, '0')
  return text
}
