import { pack, unpack } from '../../src/base/index.ts'
import type { ApplyContext, PeerId } from '../../src/base/index.ts'
import { votersDefaults } from '../../src/gossip/config.ts'
import type { RaftOptions } from '../../src/gossip/config.ts'
import type {
  ProposalRefusal,
  RaftEffect,
  RaftEntry,
  RaftEvent,
  RaftMessage,
} from '../../src/gossip/raft-types.ts'
import { heirOf } from '../../src/gossip/heir.ts'
import { RaftMachine } from '../../src/gossip/raft.machine.ts'
import type { RaftComponents } from '../../src/gossip/raft.machine.ts'
import { VotersMachine } from '../../src/gossip/voters.machine.ts'
import type { LivePeer } from '../../src/gossip/voters.machine.ts'
import type { FakeDisk } from './fake-disk.ts'
import type { RaftChecker } from './raft-checker.ts'
import type { Program, Surroundings } from './world.ts'

/** A planted bug: another machine, or a driver that breaks its contract. */
export interface Mutant {
  machine?: new (components: RaftComponents) => RaftMachine
  /** What the disk gets to keep of a `persist`. */
  persist?: (effect: Extract<RaftEffect, { type: 'persist' }>) => Extract<RaftEffect, { type: 'persist' }>
  /** Messages leave without waiting for the disk. */
  sendBeforeSync?: boolean
  /** What a failed flush was to write is lost, and it goes on as if it were there. */
  ignoresFailedFlush?: boolean
}

/** What the log is a log of, and who waits for its answers. Without one, commands are mere numbers. */
export interface LogUser {
  /** Returns what must be the same on every peer. */
  apply(data: Uint8Array, context: ApplyContext): string
  snapshot(): Uint8Array
  restore(data: Uint8Array): void
  committed(id: number, index: number): void
  refused(id: number, code: ProposalRefusal, leader: PeerId | undefined): void
  /** Undefined: refused. */
  readAnswered(id: string, index: number | undefined): void
  /** Whether this peer leads and knows all that was committed before it did. */
  leads(ready: boolean): void
}

export interface RaftProgramInit {
  disk: FakeDisk
  checker: RaftChecker
  options: RaftOptions
  /** Longest time of one flush. */
  flushMs: number
  /** Whoever leads also decides who votes. @default false */
  autopilot?: boolean
  mutant?: Mutant
  user?: LogUser
}

/** Between two looks of a flush that waits for room. */
const ROOM_LOOK_MS = 200
const HAND_OVER_PAUSE_MS = 2_000

export type RaftPayload = { kind: 'raft'; message: RaftMessage }

/** The real election and log machine of one peer in the simulator, with a driver as its contract demands. */
export class RaftProgram implements Program {
  readonly machine: RaftMachine
  readonly #around: Surroundings
  readonly #init: RaftProgramInit
  /** Effects that wait for the `persist` of that sequence number. */
  readonly #waiting: { seq: number; effect: RaftEffect }[] = []
  #writtenSeq = 0
  #durableSeq = 0
  #flushing = false
  #applied: number
  #stateHash = ''
  /** Commands of clients by proposal id, and what reads must see by read id. */
  readonly #commands = new Map<number, number>()
  readonly #reads = new Map<string, number>()
  readonly #autopilot = new VotersMachine(votersDefaults)
  #live: readonly LivePeer[] = []
  #full = false
  #handOverAtMs = 0
  readonly #lifeTag: string
  #lastId = 0

  constructor(around: Surroundings, init: RaftProgramInit) {
    this.#around = around
    this.#init = init
    const { disk, options, checker } = init
    const { self, random } = around
    const Machine = init.mutant?.machine ?? RaftMachine
    this.machine = new Machine({ self, state: disk.read(), random, options, nowMs: around.nowMs() })
    this.#applied = this.machine.appliedIndex
    this.#lifeTag = `${self} ${random.next()}`
    if (disk.snapshot !== undefined) this.#restore(disk.snapshot.data)
    checker.started(self, this.machine, disk)
  }

  /** What the state machine holds; the machine's own index may be ahead by what waits for the disk. */
  get appliedIndex(): number {
    return this.#applied
  }

  tick(): void {
    this.#watchRoom()
    this.step({ type: 'ticked' })
    if (this.#init.autopilot === true) this.#steerVoters()
    this.#handOverIfUnfit()
  }

  setLive(live: readonly LivePeer[]): void {
    this.#live = live
    this.step({ type: 'peers-changed', peers: live.map(({ peerId }) => peerId) })
  }

  receive(from: PeerId, payload: RaftPayload): void {
    this.step({ type: 'received', from, message: payload.message })
  }

  connection(peer: PeerId, state: 'open' | 'closed'): void {
    if (state === 'closed') this.step({ type: 'connection-closed', peer })
  }

  crashed(): void {
    this.#init.disk.crash(this.#around.random)
  }

  /**
   * A client's command; its fate is told to the checker.
   * @param command a number that no other proposal of the run has
   * @param data for the log's user
   * @param begun told the proposal's id before anything happens to it
   */
  propose(command: number, data?: Uint8Array, begun?: (id: number) => void): void {
    const id = ++this.#lastId
    this.#commands.set(id, command)
    begun?.(id)
    this.step({
      type: 'proposed',
      proposals: [{ id, data: pack([command, data]) }],
      wallMs: this.#around.wallMs(),
    })
  }

  read(begun?: (id: string) => void): void {
    const id = `${this.#lifeTag} ${++this.#lastId}`
    this.#reads.set(id, this.#init.checker.ackedIndex)
    begun?.(id)
    this.step({ type: 'read-requested', id })
  }

  step(event: RaftEvent): void {
    const { self } = this.#around
    const effects = this.machine.step(event, this.#around.nowMs())
    if (event.type !== 'ticked' || effects.length > 0) this.#around.trace([event, effects])
    this.machine.assertInvariants()
    this.#init.checker.stepped(self, this.machine, effects)
    for (const effect of effects) this.#take(effect)
    this.#flush()
  }

  #steerVoters(): void {
    const { self, ready, configPending, voters, log } = this.machine
    const nowMs = this.machine.awakeMs
    if (!ready) {
      this.#autopilot.step({ type: 'leadership-lost' }, nowMs)
      return
    }
    const fed = this.machine.progress()
    const view = { self, mayChange: !configPending, voters, lastIndex: log.lastIndex, fed, live: this.#live }
    const proposals = this.#autopilot.step({ type: 'ticked', view }, nowMs)
    this.#autopilot.assertInvariants()
    for (const { voters } of proposals) this.step({ type: 'voters-proposed', voters })
  }

  #watchRoom(): void {
    const { full } = this.#init.disk
    if (full === this.#full) return
    this.#full = full
    this.step({ type: 'fitness-changed', fitness: full ? 'unfit' : 'fit' })
  }

  /** As RaftDriver: a leader that is to go, or has no room, asks another voter to lead. */
  #handOverIfUnfit(): void {
    const { machine } = this
    const nowMs = this.#around.nowMs()
    const draining = this.#live.some(({ peerId, draining }) => peerId === machine.self && draining === true)
    if (machine.role !== 'leader' || (!this.#full && !draining) || nowMs < this.#handOverAtMs) return
    const heir = heirOf(machine.progress(), this.#live, machine.log.lastIndex)
    if (heir === undefined) return
    this.#handOverAtMs = nowMs + HAND_OVER_PAUSE_MS
    this.step({ type: 'transfer-requested', to: heir })
  }

  #take(effect: RaftEffect): void {
    const { disk, mutant } = this.#init
    if (effect.type === 'persist') {
      disk.write(mutant?.persist?.(effect) ?? effect)
      this.#writtenSeq = effect.seq
    } else if (
      this.#writtenSeq <= this.#durableSeq ||
      (effect.type === 'send' && (effect.urgent === true || mutant?.sendBeforeSync === true))
    ) {
      this.#perform(effect)
    } else {
      this.#waiting.push({ seq: this.#writtenSeq, effect })
    }
  }

  /** Group commit: the next flush takes everything that was written while the last one ran. */
  #flush(): void {
    const { disk, flushMs, mutant } = this.#init
    if (this.#flushing || disk.unsynced === 0) return
    this.#flushing = true
    const count = disk.unsynced
    const seq = this.#writtenSeq
    const finish = (): void => {
      if (disk.full) {
        this.#around.after(ROOM_LOOK_MS, finish)
        return
      }
      this.#flushing = false
      if (disk.failing && mutant?.ignoresFailedFlush === true) disk.drop(count)
      else if (disk.failing) {
        // What the kernel could not write it has dropped: asking again could falsely succeed.
        this.#around.exit()
        return
      } else disk.sync(count)
      this.#durableSeq = seq
      while (this.#waiting.length > 0 && this.#waiting[0]!.seq <= seq)
        this.#perform(this.#waiting.shift()!.effect)
      this.step({ type: 'persisted', seq })
    }
    this.#around.after(0.1 + this.#around.random.next() * flushMs, finish)
  }

  #perform(effect: RaftEffect): void {
    const { self, random } = this.#around
    const { checker, disk } = this.#init
    switch (effect.type) {
      case 'send':
        this.#say(effect.to, effect.message)
        break
      case 'publish':
        checker.said(self, undefined, effect.message)
        this.#around.gossip({ kind: 'raft', message: effect.message })
        break
      case 'send-snapshot': {
        const { to, term } = effect
        this.#say(to, { type: 'snapshot', term, snapshot: disk.snapshot! })
        const ok = random.next() < 0.8
        this.#around.after(20 + random.next() * 200, () => this.step({ type: 'snapshot-sent', to, ok }))
        break
      }
      case 'restore':
        this.#restore(effect.snapshot.data)
        break
      case 'apply':
        for (const entry of effect.entries) this.#apply(entry)
        break
      case 'take-snapshot': {
        const { index } = effect
        const data = pack({
          index: this.#applied,
          hash: this.#stateHash,
          state: this.#init.user?.snapshot(),
        })
        this.#around.after(random.next() * 20, () => this.step({ type: 'snapshot-taken', index, data }))
        break
      }
      case 'proposal-committed':
        checker.acknowledged(this.#commands.get(effect.id)!, effect.index)
        this.#init.user?.committed(effect.id, effect.index)
        break
      case 'read-ready': {
        const ackedBefore = this.#reads.get(effect.id)
        if (ackedBefore !== undefined) checker.readAnswered(self, effect.index, ackedBefore)
        this.#init.user?.readAnswered(effect.id, effect.index)
        break
      }
      case 'proposal-refused':
        this.#init.user?.refused(effect.id, effect.code, effect.leader)
        break
      case 'read-refused':
        this.#init.user?.readAnswered(effect.id, undefined)
        break
      case 'role-changed':
        this.#init.user?.leads(effect.ready)
        break
      case 'persist':
      case 'voters-committed':
      case 'voters-refused':
        break
    }
  }

  #say(to: PeerId, message: RaftMessage): void {
    this.#init.checker.said(this.#around.self, to, message)
    this.#around.send(to, { kind: 'raft', message })
  }

  #apply(entry: RaftEntry): void {
    if (entry.index !== this.#applied + 1) throw new Error(`applied ${entry.index} after ${this.#applied}`)
    this.#applied = entry.index
    let command: number | undefined
    let answer = ''
    if (entry.kind === 'command') {
      const { index, term, timeMs } = entry
      const [number, data] = unpack(entry.data) as [number, Uint8Array | undefined]
      command = number
      if (data instanceof Uint8Array) answer = this.#init.user?.apply(data, { index, term, timeMs }) ?? ''
    }
    this.#stateHash = mixed(this.#stateHash, `${entry.term} ${entry.kind} ${command} ${answer}`)
    this.#init.checker.applied(this.#around.self, entry.index, this.#stateHash, command)
  }

  #restore(data: Uint8Array): void {
    const { index, hash, state } = unpack(data) as { index: number; hash: string; state?: Uint8Array }
    this.#applied = index
    this.#stateHash = hash
    if (state instanceof Uint8Array) this.#init.user?.restore(state)
    this.#init.checker.applied(this.#around.self, index, hash, undefined)
  }
}

function mixed(hash: string, text: string): string {
  let sum = 0x811c9dc5
  for (const part of [hash, text]) {
    for (let i = 0; i < part.length; i++) sum = Math.imul(sum ^ part.charCodeAt(i), 0x01000193)
  }
  return (sum >>> 0).toString(16)
}
