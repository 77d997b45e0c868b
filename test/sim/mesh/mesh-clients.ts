import { below, pick } from '../../../src/base/index.ts'
import type { PeerId, Random } from '../../../src/base/index.ts'
import { checkLinearizable, namespaceModel } from '../../../src/chaos/index.ts'
import type { Operation } from '../../../src/chaos/index.ts'
import type { NamespaceCommand } from '../../../src/dht/index.ts'
import { check } from '../check.ts'
import type { World } from '../world.ts'
import type { MeshChecker } from './mesh-checker.ts'
import type { MeshPeer } from './mesh-peer.ts'
import { contentsOf, SimWriter } from './sim-writer.ts'
import { run } from './task.ts'
import type { Task } from './task.ts'

const OPERATIONS = ['create', 'create', 'overwrite', 'delete', 'rename', 'read', 'read', 'read'] as const
const COLD_OPERATIONS = ['create', 'read'] as const
type OperationKind = (typeof OPERATIONS)[number]

/** Paths that all clients fight for. */
const HOT_KEYS = 6
/** Files that stay: what became of old bytes must be seen at the end, not be overwritten before. */
const COLD_KEYS = 8
const COLD_SHARE = 0.15
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
  #processes = 0
  #stopped = false

  constructor(init: ClientsInit) {
    this.#init = init
    this.#random = init.world.random
  }

  start(): void {
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
    const { verdict, violations } = checkLinearizable(namespaceModel, this.history, options)
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
    const cold = this.#random.next() < COLD_SHARE
    const op = pick(this.#random, cold ? COLD_OPERATIONS : OPERATIONS)!
    const operation: Operation = {
      process: `client ${process}`,
      op,
      key: cold ? `/data/cold${below(this.#random, COLD_KEYS)}` : `/data/k${below(this.#random, HOT_KEYS)}`,
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
      case 'delete':
        return this.#change(peer, { type: 'rm', path: key })
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
      this.#puts.has(text),
      `a read of ${path} at ${peer.around.self} gives "${text}", which nobody has put`,
    )
    return { ok: text }
  }
}

function nanoseconds(ms: number): number {
  return Math.round(ms * 1e6)
}

function textOf(parts: readonly Uint8Array[]): string {
  const decoder = new TextDecoder()
  return parts.map(part => decoder.decode(part)).join('')
}
