import { asPeerId, seededRandom } from '../../src/base/index.ts'
import type { PeerId, Random } from '../../src/base/index.ts'
import { FakeNetwork } from './fake-network.ts'
import { Trace } from './trace.ts'
import { VirtualTime } from './virtual-time.ts'

/** What runs in a simulated process; a crash throws it away, with all that it has not put on its disk. */
export interface Program {
  tick(nowMs: number): void
  receive(from: PeerId, payload: unknown, nowMs: number): void
  connection(peer: PeerId, state: 'open' | 'closed', nowMs: number): void
  /** The process was killed: what its disk had not synced may be gone. */
  crashed(): void
}

/** What a program may do to the world outside it. */
export interface Surroundings {
  readonly self: PeerId
  readonly random: Random
  /** The process's own monotonic clock, whose zero and rate differ between peers. */
  nowMs(): number
  /** Its wall clock, which somebody may set forward or back. */
  wallMs(): number
  send(to: PeerId, payload: unknown): void
  /** To everybody who can be reached, by way of others too. */
  gossip(payload: unknown): void
  /** The process ends itself, as after a failed fsync: everything in memory is gone. */
  exit(): void
  /** Later, if the process is still in the same life; held back while it is paused. */
  after(delayMs: number, run: () => void): void
  trace(what: unknown): void
}

export type Launch = (around: Surroundings) => Program

interface Process {
  readonly peer: PeerId
  readonly launch: Launch
  readonly clockZeroMs: number
  readonly clockRate: number
  /** The machine is gone, with its disks. */
  gone: boolean
  /** What was added to its wall clock. */
  wallJumpMs: number
  state: 'running' | 'paused' | 'crashed'
  /** Counts starts: what an earlier life scheduled does not happen in a later one. */
  life: number
  program: Program | undefined
  /** What waits in the socket and timer queues of a paused process. */
  held: (() => void)[]
}

const TICK_MS = 100
/** Socket buffers of a stopped process are finite; what comes after is lost. */
const HELD_MAX = 5_000
/** How soon a peer notices that the other end of a connection died or came back. */
const NOTICE_MS = 20
/** What right clocks show when a run begins. */
const WALL_ZERO_MS = 1_700_000_000_000

/** Peers as programs on a fake network in virtual time, all decided by one seed. */
export class World {
  readonly time = new VirtualTime()
  readonly random: Random
  readonly network: FakeNetwork
  readonly trace: Trace
  readonly #processes = new Map<PeerId, Process>()
  readonly #connected = new Set<string>()

  constructor(seed: number, trace = new Trace()) {
    this.random = seededRandom(seed)
    this.network = new FakeNetwork(this.time, this.random)
    this.trace = trace
  }

  /** Adds a process and starts it. */
  add(name: string, launch: Launch): PeerId {
    const peer = asPeerId(name)
    const process: Process = {
      peer,
      launch,
      clockZeroMs: this.random.next() * 1e6,
      clockRate: 1 + (this.random.next() - 0.5) * 0.01,
      gone: false,
      wallJumpMs: 0,
      state: 'crashed',
      life: 0,
      program: undefined,
      held: [],
    }
    this.#processes.set(peer, process)
    this.start(peer)
    return peer
  }

  peers(): PeerId[] {
    return [...this.#processes.values()].filter(process => !process.gone).map(({ peer }) => peer)
  }

  running(): PeerId[] {
    return this.peers().filter(peer => this.stateOf(peer) === 'running')
  }

  stateOf(peer: PeerId): Process['state'] {
    return this.#process(peer).state
  }

  start(peer: PeerId): void {
    const process = this.#process(peer)
    if (process.state !== 'crashed' || process.gone) return
    process.state = 'running'
    const life = ++process.life
    this.trace.add(this.time.nowMs, peer, 'start')
    process.program = process.launch(this.#surroundings(process, life))
    const tick = (): void => {
      if (process.life !== life || process.state === 'crashed') return
      if (process.state === 'running') process.program?.tick(this.#nowOf(process))
      this.time.after(TICK_MS / process.clockRate, tick)
    }
    this.time.after(this.random.next() * TICK_MS, tick)
  }

  /** As SIGKILL: everything in memory is gone, and connected peers notice if they can be reached. */
  crash(peer: PeerId): void {
    const process = this.#process(peer)
    if (process.state === 'crashed') return
    process.state = 'crashed'
    process.life++
    process.program?.crashed()
    process.program = undefined
    process.held = []
    this.trace.add(this.time.nowMs, peer, 'crash')
    for (const other of this.peers()) {
      if (!this.#connected.delete(pair(peer, other)) || this.network.isCut(peer, other)) continue
      this.#notice(other, peer, 'closed')
    }
  }

  /** The machine burns down: its process and its disks never come back. */
  destroy(peer: PeerId): void {
    this.crash(peer)
    this.#process(peer).gone = true
    this.trace.add(this.time.nowMs, peer, 'destroyed')
  }

  /** As SIGSTOP. */
  pause(peer: PeerId): void {
    const process = this.#process(peer)
    if (process.state !== 'running') return
    process.state = 'paused'
    this.trace.add(this.time.nowMs, peer, 'pause')
  }

  /** As SIGCONT: the late timers run first, then what waited in the sockets, as in Node. */
  resume(peer: PeerId): void {
    const process = this.#process(peer)
    if (process.state !== 'paused') return
    process.state = 'running'
    this.trace.add(this.time.nowMs, peer, 'resume')
    const { held, life } = process
    process.held = []
    process.program?.tick(this.#nowOf(process))
    for (const run of held) if (process.life === life) run()
  }

  /** Somebody sets the wall clock of one machine; its monotonic clock goes on undisturbed. */
  jumpClock(peer: PeerId, byMs: number): void {
    this.#process(peer).wallJumpMs += byMs
    this.trace.add(this.time.nowMs, peer, `wall clock ${byMs}`)
  }

  /** Everything runs, every link is clean. */
  heal(): void {
    this.network.heal()
    for (const peer of this.peers()) {
      this.resume(peer)
      this.start(peer)
    }
  }

  #process(peer: PeerId): Process {
    const process = this.#processes.get(peer)
    if (process === undefined) throw new Error(`no peer ${peer} in this world`)
    return process
  }

  #nowOf(process: Process): number {
    return process.clockZeroMs + this.time.nowMs * process.clockRate
  }

  #surroundings(process: Process, life: number): Surroundings {
    const self = process.peer
    const dead = (): boolean => process.life !== life
    return {
      self,
      random: this.random,
      nowMs: () => this.#nowOf(process),
      wallMs: () => WALL_ZERO_MS + this.time.nowMs + process.wallJumpMs,
      exit: () => {
        if (!dead()) this.crash(self)
      },
      send: (to, payload) => {
        if (!dead() && this.#processes.has(to))
          this.network.send(self, to, () => this.#deliver(self, to, payload))
      },
      gossip: payload => {
        freeze(payload)
        if (dead()) return
        for (const to of this.peers()) {
          if (to !== self)
            this.network.gossip(self, to, this.running(), () => this.#deliver(self, to, payload))
        }
      },
      after: (delayMs, run) => {
        this.time.after(delayMs, () => {
          if (!dead()) this.#whenRunning(process, run)
        })
      },
      trace: what => this.trace.add(this.time.nowMs, self, what),
    }
  }

  #deliver(from: PeerId, to: PeerId, payload: unknown): void {
    const process = this.#process(to)
    if (process.state === 'crashed') return
    const link = pair(from, to)
    if (!this.#connected.has(link) && this.stateOf(from) !== 'crashed') {
      this.#connected.add(link)
      this.#notice(from, to, 'open')
      this.#notice(to, from, 'open')
    }
    this.#whenRunning(process, () => process.program?.receive(from, payload, this.#nowOf(process)))
  }

  #notice(peer: PeerId, other: PeerId, state: 'open' | 'closed'): void {
    const process = this.#process(peer)
    const { life } = process
    this.time.after(this.random.next() * NOTICE_MS, () => {
      if (process.life !== life || process.state === 'crashed') return
      this.#whenRunning(process, () => process.program?.connection(other, state, this.#nowOf(process)))
    })
  }

  #whenRunning(process: Process, run: () => void): void {
    if (process.state === 'running') run()
    else if (process.state === 'paused' && process.held.length < HELD_MAX) process.held.push(run)
  }
}

/** What was said must not change any more, here or there: on a real wire it would be a copy. */
function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array || Object.isFrozen(value))
    return
  Object.freeze(value)
  for (const item of Object.values(value)) freeze(item)
}

function pair(a: PeerId, b: PeerId): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}
