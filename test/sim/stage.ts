import { asPeerId } from '../../src/base/index.ts'
import type { PeerId } from '../../src/base/index.ts'
import { raftDefaults } from '../../src/gossip/config.ts'
import { emptyRaftState, genesisRaftState } from '../../src/gossip/raft-types.ts'
import type { RaftEvent, RaftMessage } from '../../src/gossip/raft-types.ts'
import { FakeDisk } from './fake-disk.ts'
import { RaftChecker } from './raft-checker.ts'
import { RaftProgram } from './raft-program.ts'
import type { Mutant, RaftPayload } from './raft-program.ts'

interface Underway {
  from: PeerId
  to: PeerId
  message: RaftMessage
}

interface Actor {
  nowMs: number
  disk: FakeDisk
  program: RaftProgram | undefined
  /** Counts starts. */
  life: number
  /** Flushes and other work that goes on only when the script says so. */
  pending: (() => void)[]
}

export type Which = Partial<{ from: string; to: string; type: RaftMessage['type'] }>

/** A disk that loses everything unsynced in a crash. */
const UNLUCKY = { next: () => 0 }
const LONG_MS = 10_000

/**
 * Raft peers as actors of a script: messages, flushes and time move only when the script says so. For the schedules
 * that chance does not find.
 */
export class Stage {
  /** Looks at consequences only: a planted bug must do harm, not just look wrong. */
  readonly checker = new RaftChecker({ consequencesOnly: true })
  readonly #actors = new Map<PeerId, Actor>()
  readonly #mutant: Mutant | undefined
  #underway: Underway[] = []
  #commands = 0

  /** @param learners names of peers that are no founders */
  constructor(founders: readonly string[], learners: readonly string[] = [], mutant?: Mutant) {
    this.#mutant = mutant
    const genesis = genesisRaftState(founders.map(asPeerId), 1_000)
    for (const name of [...founders, ...learners]) {
      const disk = new FakeDisk(founders.includes(name) ? genesis : emptyRaftState())
      this.#actors.set(asPeerId(name), { nowMs: 0, disk, program: undefined, life: 0, pending: [] })
      this.start(name)
    }
  }

  machine(name: string): RaftProgram['machine'] {
    return this.#program(name).machine
  }

  runs(name: string): boolean {
    return this.#actor(name).program !== undefined
  }

  start(name: string): void {
    const self = asPeerId(name)
    const actor = this.#actor(name)
    const life = ++actor.life
    const init = {
      disk: actor.disk,
      checker: this.checker,
      // Time passes in leaps here.
      options: { ...raftDefaults, appendEntriesMax: 1, stallMs: Infinity },
      flushMs: 0,
    }
    const around = {
      self,
      random: UNLUCKY,
      nowMs: () => actor.nowMs,
      send: (to: PeerId, payload: unknown) => {
        this.#underway.push({ from: self, to, message: (payload as RaftPayload).message })
      },
      gossip: () => {},
      after: (_delayMs: number, run: () => void) => {
        actor.pending.push(() => {
          if (actor.life === life) run()
        })
      },
      trace: () => {},
      wallMs: () => 1_700_000_000_000 + actor.nowMs,
      exit: () => this.crash(name),
    }
    actor.program = new RaftProgram(
      around,
      this.#mutant === undefined ? init : { ...init, mutant: this.#mutant },
    )
  }

  /** Messages to it stay under way: it may be back before they come. */
  crash(name: string): void {
    const actor = this.#actor(name)
    actor.program?.crashed()
    actor.program = undefined
    actor.pending = []
    actor.life++
  }

  /** It crashes, and its log turns out damaged. */
  loseLog(name: string): void {
    this.crash(name)
    this.checker.loses(asPeerId(name))
    this.#actor(name).disk.lose()
    this.start(name)
  }

  step(name: string, event: RaftEvent): void {
    this.#program(name).step(event)
  }

  propose(name: string): void {
    this.#program(name).propose(++this.#commands)
  }

  read(name: string): void {
    this.#program(name).read()
  }

  /** Finishes the flushes of that peer. */
  sync(name: string): void {
    const actor = this.#actor(name)
    while (actor.pending.length > 0) actor.pending.shift()!()
  }

  /** Hands over what is under way now and matches; what that causes stays under way. Returns how many. */
  deliver(which: Which): number {
    const matching = this.#take(which)
    for (const { from, to, message } of matching) {
      this.#actor(to).program?.receive(from, { kind: 'raft', message })
    }
    return matching.length
  }

  drop(which: Which): void {
    this.#take(which)
  }

  /** Those peers talk, and their disks work, until all is said; what is for others stays under way. */
  settle(...names: string[]): void {
    for (let busy = true; busy;) {
      busy = false
      for (const from of names) {
        if (this.#actor(from).pending.length > 0) busy = true
        this.sync(from)
        for (const to of names) if (this.deliver({ from, to }) > 0) busy = true
      }
    }
  }

  /** Long enough for that peer to hear nothing, forget its leader, and campaign if it may. */
  timeOut(name: string): void {
    this.wait(name)
    this.step(name, { type: 'ticked' })
  }

  /** Time passes at that peer, but its timers have not fired yet. */
  wait(...names: string[]): void {
    for (const name of names) this.#actor(name).nowMs += LONG_MS
  }

  /**
   * The peer campaigns with the help of the others, who have not heard a leader for long. Several times, for the first
   * attempts may only teach it the term. Whether it wins is the machines' affair.
   */
  elect(name: string, ...helpers: string[]): void {
    for (let attempt = 0; attempt < 3 && this.machine(name).role !== 'leader'; attempt++) {
      this.wait(...helpers)
      this.timeOut(name)
      this.sync(name)
      for (const ask of ['pre-vote', 'vote'] as const) {
        for (const helper of helpers) {
          this.deliver({ from: name, to: helper, type: ask })
          this.sync(helper)
          this.deliver({ from: helper, to: name })
          this.sync(name)
        }
      }
    }
  }

  #take(which: Which): Underway[] {
    const matches = ({ from, to, message }: Underway): boolean =>
      (which.from === undefined || from === which.from) &&
      (which.to === undefined || to === which.to) &&
      (which.type === undefined || message.type === which.type)
    const taken = this.#underway.filter(matches)
    this.#underway = this.#underway.filter(each => !matches(each))
    return taken
  }

  #actor(name: string): Actor {
    const actor = this.#actors.get(asPeerId(name))
    if (actor === undefined) throw new Error(`no peer ${name} on this stage`)
    return actor
  }

  #program(name: string): RaftProgram {
    const { program } = this.#actor(name)
    if (program === undefined) throw new Error(`${name} is not running`)
    return program
  }
}
