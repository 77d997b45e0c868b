import type { PeerId } from '../../../src/base/index.ts'
import type { LogCommand } from '../../../src/node/replicated-state.machine.ts'
import { lookAtDrain } from '../../../src/node/drain.ts'
import { MemberProgram } from '../member-program.ts'
import type { MemberPayload, MemberProgramInit } from '../member-program.ts'
import { RaftProgram } from '../raft-program.ts'
import type { Mutant as RaftMutant, RaftPayload, RaftProgramInit } from '../raft-program.ts'
import type { Program, Surroundings } from '../world.ts'
import type { MeshChecker } from './mesh-checker.ts'
import type { SimBlockStore, StoreMutant } from './sim-block-store.ts'
import { SimBlocks } from './sim-blocks.ts'
import type { BlocksMutant } from './sim-blocks.ts'
import { Calls } from './sim-calls.ts'
import type { CallPayload, CallType, Handlers, Reply } from './sim-calls.ts'
import { SimLog } from './sim-log.ts'
import type { LogMutant } from './sim-log.ts'
import { SimNameNode } from './sim-name-node.ts'
import type { NameNodeMutant } from './sim-name-node.ts'
import { pause, run } from './task.ts'
import type { Task } from './task.ts'
import type { WriterMutant } from './sim-writer.ts'

/** Bugs that can be planted in the storage of a whole mesh, one at a time. */
export interface MeshMutant {
  store?: StoreMutant
  blocks?: BlocksMutant
  log?: LogMutant
  nameNode?: NameNodeMutant
  writer?: WriterMutant
  raft?: RaftMutant
  drain?: DrainMutant
}

export interface DrainMutant {
  /** It leaves as soon as it is told to go. */
  leavesUnverified?: boolean
}

export interface MeshPeerInit {
  members: Omit<MemberProgramInit, 'onChange'>
  raft: Omit<RaftProgramInit, 'user'>
  store: SimBlockStore
  checker: MeshChecker
  mutant: MeshMutant
  host: string
  flushMs: number
  nextCommand: () => number
  /** Everything is elsewhere, and it has said that it leaves. */
  onDrained: () => void
}

const JOIN_RETRY_MS = 1_000
const DRAIN_LOOK_MS = 500
/** Short, so that they begin and end within a simulated minute. */
const QUARANTINE = { quarantineMs: 10_000, quarantineMaxMs: 20_000 }

/** One whole peer: membership, log, replicated state, blocks and, while it leads, the name node, as `src/node` puts them together. */
export class MeshPeer implements Program {
  readonly members: MemberProgram
  readonly raft: RaftProgram
  readonly log: SimLog
  readonly blocks: SimBlocks
  readonly calls: Calls
  readonly around: Surroundings
  readonly mutant: MeshMutant
  readonly #nameNode: SimNameNode
  readonly #init: MeshPeerInit
  readonly #handlers: Handlers
  #built = false

  constructor(around: Surroundings, init: MeshPeerInit) {
    this.around = around
    this.mutant = init.mutant
    this.#init = init
    const { checker, store, flushMs, mutant } = init
    this.log = new SimLog({
      around,
      checker,
      mutant: mutant.log ?? {},
      nextCommand: () => init.nextCommand(),
      onApplied: command => this.#applied(command),
      onLeads: leads => this.#nameNode.leads(leads),
    })
    this.raft = new RaftProgram(around, {
      ...init.raft,
      user: this.log,
      ...(mutant.raft && { mutant: mutant.raft }),
    })
    this.members = new MemberProgram(around, {
      ...init.members,
      options: QUARANTINE,
      onChange: () => {
        if (this.#built) this.#membersChanged()
      },
    })
    this.calls = new Calls(around, (from, { id, type, request }) => {
      const handle = this.#handlers[type] as (request: unknown) => Task<unknown> | Reply<CallType>
      const outcome = handle(request)
      if ('ok' in outcome) this.calls.answer(from, id, outcome)
      else run(outcome, reply => this.calls.answer(from, id, reply))
    })
    this.log.connect(this.raft, this.calls)
    const isAlive = (peer: PeerId): boolean => this.isAlive(peer)
    const { log, calls, members } = this
    this.blocks = new SimBlocks({
      around,
      store,
      checker,
      mutant: mutant.blocks ?? {},
      flushMs,
      log,
      calls,
      isAlive,
    })
    const nameNode = mutant.nameNode ?? {}
    this.#nameNode = new SimNameNode({ around, log, calls, blocks: this.blocks, members, mutant: nameNode })
    this.#handlers = {
      propose: ({ command }) => this.log.proposeHere(command),
      'block-write': request => this.blocks.write(request),
      'block-read': request => this.blocks.read(request),
      'block-copy': request => this.blocks.copy(request),
      'block-delete': request => this.blocks.delete(request),
    }
    this.#built = true
    this.#membersChanged()
    run(this.blocks.sweeps())
    run(this.#askToBeMember())
    run(this.#watchDrain())
  }

  tick(): void {
    this.members.tick()
    this.raft.tick()
    this.log.settle()
    this.#nameNode.tick()
  }

  receive(from: PeerId, payload: MemberPayload | RaftPayload | CallPayload): void {
    switch (payload.kind) {
      case 'raft':
        this.raft.receive(from, payload)
        this.log.settle()
        break
      case 'call':
      case 'reply':
        this.calls.receive(from, payload)
        break
      case 'direct':
      case 'topic':
        this.members.receive(from, payload)
    }
  }

  connection(peer: PeerId, state: 'open' | 'closed'): void {
    this.members.connection(peer, state)
    this.raft.connection(peer, state)
    if (state === 'closed') this.calls.connectionClosed(peer)
  }

  crashed(): void {
    this.raft.crashed()
    this.#init.store.crash(this.around.random)
  }

  isAlive(peer: PeerId): boolean {
    const state = this.members.machine.member(peer)?.state
    return state === 'alive' || state === 'suspect'
  }

  #applied(command: LogCommand | undefined): void {
    if (command === undefined || command.part === 'gossip') this.#membersChanged()
    this.#nameNode.applied(command)
  }

  /** The log alone says whom to feed. */
  #membersChanged(): void {
    const up = this.log.state.members.members().filter(({ state }) => state === 'up')
    const { machine } = this.members
    this.raft.setLive(
      up.map(({ peerId, labels, draining }) => ({
        peerId,
        host: labels.host,
        draining,
        quarantined: machine.isQuarantined(peerId),
      })),
    )
    this.#nameNode.membersChanged()
  }

  /** As DrainWatch: by a fresh view of the log nothing keeps this peer any more. */
  *#watchDrain(): Task<void> {
    const { self } = this.around
    for (;;) {
      yield* pause(this.around, DRAIN_LOOK_MS)
      const isDraining = (): boolean => this.log.state.members.member(self)?.draining === true
      if (!isDraining()) continue
      if (this.mutant.drain?.leavesUnverified !== true) {
        if (!(yield* this.log.barrier())) continue
        if (!isDraining() || !this.#drained()) continue
      }
      this.members.step({ type: 'leave-requested' })
      this.#init.onDrained()
      return
    }
  }

  #drained(): boolean {
    const { state } = this.log
    const looking = lookAtDrain(
      {
        records: () => state.members.members(),
        voters: () => this.raft.machine.voters,
        files: {
          namespace: () => state.namespace,
          slots: () => state.slots,
          isAlive: peer => this.isAlive(peer),
        },
      },
      this.around.self,
    )
    for (;;) {
      const { done, value } = looking.next()
      if (done === true) return value.done
    }
  }

  *#askToBeMember(): Task<void> {
    const { self, random } = this.around
    const command: LogCommand = {
      part: 'gossip',
      command: {
        type: 'peer-join',
        peerId: self,
        name: self,
        addresses: [`/memory/${self}`],
        labels: { host: this.#init.host, zone: '' },
        directoryId: `directory-of-${self}`,
      },
    }
    for (;;) {
      // Whoever has joined before finds itself among the members once it has read its log.
      const outcome = yield* this.log.propose(command, this.#init.members.join)
      if (outcome.ok && outcome.result.ok) return
      yield* pause(this.around, JOIN_RETRY_MS * (0.5 + random.next()))
    }
  }
}
