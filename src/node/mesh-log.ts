import { randomBytes } from 'node:crypto'
import {
  hasCode,
  pack,
  ShoalError,
  systemClock,
  systemRandom,
  unpack,
  type AbortOptions,
  type ApplyContext,
  type Logger,
  type MeshId,
} from '../base/index.ts'
import type { DhtCommand, ResultOf } from '../dht/index.ts'
import { isSlotCommand } from '../dht/index.ts'
import {
  DiskLogStore,
  type DiskSpaceOptions,
  ReplicatedLog,
  type LeaderView,
  type MemberCommand,
  type MemberResult,
  type RaftOptions,
  type VotersOptions,
} from '../gossip/index.ts'
import type { JobsCommand } from '../rdd/index.ts'
import { MESH_LOG } from './config.ts'
import { LeaderCaller } from './leader-caller.ts'
import { proposeCommand } from './log-messages.ts'
import type { PeerTransport } from './net/index.ts'
import { replay } from './replay.ts'
import { ReplicatedState, type LogCommand } from './replicated-state.machine.ts'
import { packParts, unpackParts } from './state-bytes.ts'

export interface MeshLogOptions {
  transport: PeerTransport
  directory: string
  meshId: MeshId
  genesis: boolean
  raft?: Partial<RaftOptions>
  voters?: Partial<VotersOptions>
  space?: Partial<DiskSpaceOptions>
  log: Logger
}

export interface ProposeOptions extends AbortOptions {
  /** Until NO_QUORUM is the answer. @default LEADER_CALL.quorumWaitMs */
  waitMs?: number
}

/** The replicated log and the state it makes, as one peer has them; proposals go to whoever leads. */
export class MeshLog implements AsyncDisposable {
  readonly state = new ReplicatedState()
  readonly log: ReplicatedLog
  readonly leader: LeaderCaller
  /** Names this process's mutations, so that one that arrives twice is carried out once. */
  readonly #clientId = randomBytes(9).toString('base64url')
  #seq = 0
  readonly #onApplied = new Set<(command: LogCommand) => void>()
  readonly #onRestored = new Set<() => void>()

  static async start(options: MeshLogOptions): Promise<MeshLog> {
    const listeners: { applied?: (command: LogCommand) => void; restored?: () => void } = {}
    const state = new ReplicatedState()
    const log = await ReplicatedLog.start({
      transport: options.transport,
      store: new DiskLogStore(options.directory, {
        self: options.transport.self,
        space: options.space ?? {},
      }),
      stateMachine: {
        apply(bytes: Uint8Array, context: ApplyContext) {
          const command = unpack(bytes) as LogCommand
          const result = state.apply(command, context)
          listeners.applied?.(command)
          return result
        },
        snapshot: () => packParts(state.snapshot()),
        *restore(bytes) {
          yield* state.restoring(unpackParts(bytes))
          listeners.restored?.()
        },
        replay,
      },
      meshId: options.meshId,
      genesis: options.genesis,
      ...(options.raft === undefined ? {} : { raft: options.raft }),
      ...(options.voters === undefined ? {} : { voters: options.voters }),
      logger: options.log,
    })
    const meshLog = new MeshLog(options.transport, state, log)
    listeners.applied = command => {
      for (const listener of meshLog.#onApplied) listener(command)
    }
    listeners.restored = () => {
      for (const listener of meshLog.#onRestored) listener()
    }
    return meshLog
  }

  private constructor(transport: PeerTransport, state: ReplicatedState, log: ReplicatedLog) {
    this.state = state
    this.log = log
    this.leader = new LeaderCaller({
      transport,
      clock: systemClock,
      random: systemRandom,
      view: {
        leader: () => log.leader()?.peerId,
        onLeader: listener => log.onLeader(listener),
        others: () => transport.connections().flatMap(({ peer, role }) => (role === 'peer' ? [peer] : [])),
        quorum: () => {
          const { term, voters } = log.status()
          return { term, voters }
        },
      },
    })
    transport.handle(proposeCommand, async ({ head, signal }) => await log.propose(pack(head), { signal }))
  }

  /** Called after each command was applied here, with the state as it is then. Must be quick and not throw. */
  onApplied(listener: (command: LogCommand) => void): void {
    this.#onApplied.add(listener)
  }

  /** Called when a snapshot from the leader has replaced the whole state. The same holds of it. */
  onRestored(listener: () => void): void {
    this.#onRestored.add(listener)
  }

  onLeader(listener: (view: LeaderView) => void): () => void {
    return this.log.onLeader(listener)
  }

  async proposeDht<Command extends DhtCommand>(
    command: Command,
    options?: ProposeOptions,
  ): Promise<ResultOf<Command>> {
    const named =
      isSlotCommand(command) || command.session !== undefined
        ? command
        : { ...command, session: { clientId: this.#clientId, seq: ++this.#seq } }
    return (await this.#propose({ part: 'dht', command: named }, options)) as ResultOf<Command>
  }

  async proposeMember(command: MemberCommand, options?: AbortOptions): Promise<MemberResult> {
    return (await this.#propose({ part: 'gossip', command }, options)) as MemberResult
  }

  async proposeJob(command: JobsCommand, options?: AbortOptions): Promise<unknown> {
    return await this.#propose({ part: 'rdd', command }, options)
  }

  async #propose(command: LogCommand, options: ProposeOptions = {}): Promise<unknown> {
    try {
      const { index, result } = await this.leader.call(proposeCommand, command, { ...options, changes: true })
      await this.log.waitApplied(index, { ...options, timeoutMs: MESH_LOG.applyTimeoutMs })
      return result
    } catch (error) {
      if (!hasCode(error, 'CONNECTION_LOST') && !hasCode(error, 'TIMEOUT')) throw error
      const what = command.command.type
      throw new ShoalError(
        'UNKNOWN_OUTCOME',
        { what },
        `the leader was lost while it carried out ${what}: it may have taken effect or not; look before repeating it`,
        { cause: error },
      )
    }
  }

  /** Waits until this peer has applied everything that was acknowledged before the call. */
  async readBarrier(options: AbortOptions = {}): Promise<void> {
    const index = await this.log.readIndex(options)
    await this.log.waitApplied(index, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.log.close()
  }
}
