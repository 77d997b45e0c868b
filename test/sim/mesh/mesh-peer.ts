import type { PeerId } from '../../../src/base/index.ts'
import type { LogCommand } from '../../../src/node/replicated-state.machine.ts'
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
}

const JOIN_RETRY_MS = 1_000

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
    this.members = new MemberProgram(around, init.members)
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
    this.#membersChanged()
    run(this.blocks.sweeps())
    run(this.#askToBeMember())
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
    this.raft.setLive(up.map(({ peerId, labels }) => ({ peerId, host: labels.host })))
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
