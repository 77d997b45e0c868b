import { below, pick } from '../../../src/base/index.ts'
import type { PeerId, Random } from '../../../src/base/index.ts'
import { checkLinearizable } from '../../../src/chaos/index.ts'
import type { Operation } from '../../../src/chaos/index.ts'
import type { NamespaceCommand } from '../../../src/dht/index.ts'
import { check } from '../check.ts'
import type { World } from '../world.ts'
import { SMALL_DIRECTORY } from './mesh-checker.ts'
import type { MeshChecker } from './mesh-checker.ts'
import { meshModel } from './mesh-model.ts'
import type { MeshPeer } from './mesh-peer.ts'
import { contentsOf, SimWriter } from './sim-writer.ts'
import { run } from './task.ts'
import type { Task } from './task.ts'

type OperationKind =
  | 'create'
  | 'overwrite'
  | 'append'
  | 'delete'
  | 'trash'
  | 'undelete'
  | 'rename'
  | 'setrep'
  | 'read'

/** Paths, and what is done to them. */
interface Part {
  /** How often, relative to the others. */
  weight: number
  path: string
  count: number
  operations: readonly OperationKind[]
}

const PARTS: readonly Part[] = [
  // All clients fight for these.
  {
    weight: 60,
    path: '/data/k',
    count: 6,
    operations: ['create', 'create', 'overwrite', 'delete', 'rename', 'read', 'read', 'read', 'setrep'],
  },
  // These stay: what became of old bytes must be seen at the end, not be overwritten before.
  { weight: 18, path: '/data/cold', count: 8, operations: ['create', 'read', 'append', 'setrep'] },
  { weight: 12, path: '/bin/t', count: 2, operations: ['create', 'read', 'trash', 'trash', 'undelete'] },
  { weight: 10, path: `${SMALL_DIRECTORY}/s`, count: 5, operations: ['create', 'create', 'delete', 'read'] },
]
const DRAWN = PARTS.flatMap(part => new Array<Part>(part.weight).fill(part))

/** The directory of the hot and cold files, of which snapshots are made now and then. */
const DATA = '/data'
const SNAPSHOT_SHARE = 0.06
const SNAPSHOTS_MAX = 3
/** Of `SMALL_DIRECTORY`, which counts itself: three files. */
const NAMES_MAX = 4
const BYTES_MAX = 400
const REPLICATION_RAISED = 4
/** Longer than a client's own retries take. */
const GIVE_UP_MS = 45_000
/** Combinations looked at in the history of one run; far more than any of these short ones needs. */
const CONFIGURATIONS_MAX = 200_000

export interface ClientsInit {
  world: World
  checker: MeshChecker
  count: number
  /** Mean pause of one client between two operations. */
  thinkMs: () => number
  /**
   * Whether files may be asked to have fewer copies: which of them go is decided by what the log says, so that with
   * bytes rotting unseen the last good one may be among them.
   */
  mayLowerReplication: boolean
  peerOf: (peer: PeerId) => MeshPeer
}

/** Clients that write, read, rename and remove whole files through any peer, and write down what they were told. */
export class MeshClients {
  /** Times are nanoseconds of virtual time. */
  readonly history: Operation[] = []
  readonly #init: ClientsInit
  readonly #random: Random
  /** Which put wrote what, so that a reader's bytes can be told to be whole. */
  readonly #puts = new Set<string>()
  readonly #appends = new Set<string>()
  /** What was seen in each snapshot of the directory: null when a file was not there. */
  readonly #snapshots = new Map<string, Map<string, unknown>>()
  #processes = 0
  #stopped = false

  constructor(init: ClientsInit) {
    this.#init = init
    this.#random = init.world.random
  }

  start(): void {
    const at = pick(this.#random, this.#init.world.running())
    if (at !== undefined) run(this.#setQuota(this.#init.peerOf(at)))
    for (let client = 0; client < this.#init.count; client++) this.#next(++this.#processes)
  }

  /** What is under way goes on, nothing new begins. */
  stop(): void {
    this.#stopped = true
  }

  /** Operations that were answered with yes. */
  get done(): number {
    return this.history.filter(({ output }) => output !== null && 'ok' in output).length
  }

  /** That there is an order of all operations in which one copy of the files would have answered the same. */
  assertLinearizable(): void {
    const options = { configurationsMax: CONFIGURATIONS_MAX }
    const { verdict, violations } = checkLinearizable(meshModel, this.history, options)
    const [first] = violations
    if (first === undefined) return
    const { part, state, stuck } = first
    check(
      false,
      `the history is ${verdict}: not linearizable in ${part}; after ${state} none fits of ${JSON.stringify(stuck)}`,
    )
  }

  #next(process: number): void {
    if (this.#stopped) return
    const { world, thinkMs } = this.#init
    world.time.after(thinkMs() * 2 * this.#random.next(), () => this.#operate(process))
  }

  #operate(process: number): void {
    if (this.#stopped) return
    const { world, peerOf } = this.#init
    const at = pick(this.#random, world.running())
    if (at === undefined) {
      this.#next(process)
      return
    }
    if (this.#random.next() < SNAPSHOT_SHARE) run(this.#useSnapshot(peerOf(at)))
    const { path, count, operations } = pick(this.#random, DRAWN)!
    const op = pick(this.#random, operations)!
    const operation: Operation = {
      process: `client ${process}`,
      op,
      key: `${path}${below(this.#random, count)}`,
      input: null,
      output: null,
      call: nanoseconds(world.time.nowMs),
      return: null,
    }
    this.history.push(operation)
    let ended = false
    run(this.#perform(peerOf(at), op, operation), output => {
      if (ended) return
      ended = true
      operation.output = output
      if (output !== null) operation.return = nanoseconds(world.time.nowMs)
      world.trace.add(world.time.nowMs, operation.process, [at, op, operation.key, operation.input, output])
      // One that does not know what became of its request never comes back as the same client.
      this.#next(output === null ? ++this.#processes : process)
    })
    // Its peer may have died in the middle of it.
    world.time.after(GIVE_UP_MS, () => {
      if (ended) return
      ended = true
      this.#next(++this.#processes)
    })
  }

  #perform(peer: MeshPeer, op: OperationKind, operation: Operation): Task<Operation['output']> {
    const { key } = operation
    switch (op) {
      case 'create':
      case 'overwrite':
        return this.#put(peer, op, operation)
      case 'append':
        return this.#append(peer, operation)
      case 'delete':
        return this.#change(peer, { type: 'rm', path: key })
      case 'trash':
        return this.#change(peer, { type: 'rm', path: key, trash: true })
      case 'undelete':
        return this.#change(peer, { type: 'undelete', path: key })
      case 'setrep': {
        const replication = this.#init.mayLowerReplication ? 2 + below(this.#random, 3) : REPLICATION_RAISED
        operation.input = replication
        return this.#change(peer, { type: 'set-replication', path: key, replication })
      }
      case 'rename': {
        // Onto itself it is a matter of taste what should happen; to POSIX and to us, nothing.
        const to = key.endsWith('0') ? '/data/k1' : '/data/k0'
        operation.input = to
        return this.#change(peer, { type: 'mv', from: key, to })
      }
      case 'read':
        return this.#read(peer, key)
    }
  }

  *#put(peer: MeshPeer, op: 'create' | 'overwrite', operation: Operation): Task<Operation['output']> {
    const parts = contentsOf(this.#random, this.#puts.size + 1)
    const text = textOf(parts)
    operation.input = text
    this.#puts.add(text)
    const writer = new SimWriter(peer, this.#init.checker)
    return yield* writer.put(operation.key, parts, op === 'overwrite')
  }

  *#append(peer: MeshPeer, operation: Operation): Task<Operation['output']> {
    const text = `append ${this.#appends.size + 1};`
    operation.input = text
    this.#appends.add(text)
    const writer = new SimWriter(peer, this.#init.checker)
    return yield* writer.append(operation.key, new TextEncoder().encode(text))
  }

  *#change(peer: MeshPeer, command: NamespaceCommand): Task<Operation['output']> {
    const outcome = yield* peer.log.propose({ part: 'dht', command })
    if (!outcome.ok) return outcome.code === 'UNKNOWN_OUTCOME' ? null : { error: outcome.code }
    return outcome.result.ok ? { ok: null } : { error: outcome.result.error.code }
  }

  *#read(peer: MeshPeer, path: string): Task<Operation['output']> {
    if (!(yield* peer.log.barrier())) return { error: 'NO_QUORUM' }
    const { namespace } = peer.log.state
    if (!namespace.exists(path)) return { error: 'NOT_FOUND' }
    const parts: Uint8Array[] = []
    for (const { blockId } of namespace.blocksOf(path)) {
      const bytes = yield* peer.blocks.fetch(blockId)
      // Removed or replaced meanwhile, or all holders out of reach: nothing was learnt.
      if (bytes === undefined) return { error: 'BLOCK_UNAVAILABLE' }
      parts.push(bytes)
    }
    const text = textOf(parts)
    check(
      this.#wasWritten(text),
      `a read of ${path} at ${peer.around.self} gives "${text}", which nobody has put`,
    )
    return { ok: text }
  }

  /** One whole put, and whole appends behind it. */
  #wasWritten(text: string): boolean {
    const end = text.indexOf('append')
    const put = end === -1 ? text : text.slice(0, end)
    const appended = end === -1 ? [] : text.slice(end).split(/(?<=;)/)
    return this.#puts.has(put) && appended.every(each => this.#appends.has(each))
  }

  // ---- Snapshots, which never change, and quotas, which the checker looks at

  *#useSnapshot(peer: MeshPeer): Task<void> {
    const known = [...this.#snapshots.keys()]
    const name = pick(this.#random, known)
    if (name === undefined || known.length < SNAPSHOTS_MAX) {
      const made = `snapshot${this.#puts.size}-${below(this.#random, 1_000_000)}`
      const output = yield* this.#change(peer, { type: 'create-snapshot', path: DATA, name: made })
      if (output !== null && 'ok' in output) this.#snapshots.set(made, new Map())
      return
    }
    if (this.#random.next() < 0.1) {
      // From when it is asked for on, it may be gone.
      this.#snapshots.delete(name)
      yield* this.#change(peer, { type: 'delete-snapshot', path: DATA, name })
      return
    }
    const file = this.#random.next() < 0.5 ? `k${below(this.#random, 6)}` : `cold${below(this.#random, 8)}`
    const output = yield* this.#read(peer, `${DATA}/.snapshot/${name}/${file}`)
    const contents = this.#snapshots.get(name)
    if (contents === undefined || output === null) return
    if ('error' in output && output.error !== 'NOT_FOUND') return
    const seen = 'ok' in output ? output.ok : null
    const before = contents.has(file) ? contents.get(file) : seen
    check(
      before === seen,
      `${file} in ${name} was ${JSON.stringify(before)} and is ${JSON.stringify(seen)}: a snapshot has changed`,
    )
    contents.set(file, seen)
  }

  *#setQuota(peer: MeshPeer): Task<void> {
    yield* this.#change(peer, { type: 'mkdir', path: SMALL_DIRECTORY, parents: true })
    const limits = { names: NAMES_MAX, bytes: BYTES_MAX }
    yield* this.#change(peer, { type: 'set-quota', path: SMALL_DIRECTORY, ...limits })
  }
}

function nanoseconds(ms: number): number {
  return Math.round(ms * 1e6)
}

function textOf(parts: readonly Uint8Array[]): string {
  const decoder = new TextDecoder()
  return parts.map(part => decoder.decode(part)).join('')
}
