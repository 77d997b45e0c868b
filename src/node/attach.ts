import {
  bodyOf,
  raceAbort,
  ShoalError,
  silentLogger,
  type AbortOptions,
  type Logger,
  type PeerId,
} from '../base/index.ts'
import { Attachment } from './attachment.ts'
import { leaderChanged } from './log-messages.ts'
import type { MeshAccess } from './mesh-access.ts'
import { Mesh, type MeshOptions } from './mesh.ts'
import { passingIdentity, PeerTransport } from './net/index.ts'
import { relayToLeader, relayToPeer } from './relay.ts'

export interface AttachOptions extends MeshOptions {
  /** Multiaddrs of peers, tried in order; the first that answers is attached to. */
  peers: readonly string[]
  /** The mesh's secret. */
  meshKey: Uint8Array
  /** Shown in the peer's list of clients. @default 'client' */
  name?: string
  /** For each peer, until the next is tried. @default 5_000 */
  timeoutMs?: number
  log?: Logger
  signal?: AbortSignal
}

/**
 * Attaches to a mesh as a client: it stores nothing and is no member; the peer it is attached to stands in for it, and when that is gone
 * another one does.
 * @throws UNREACHABLE when none of the peers answers, NOT_ADMITTED when the secret is wrong.
 */
export async function attach(options: AttachOptions): Promise<Mesh> {
  const log = options.log ?? silentLogger
  const identity = await passingIdentity()
  const transport = await PeerTransport.open({
    key: identity.key,
    secret: options.meshKey,
    role: 'client',
    name: options.name ?? 'client',
    listen: [],
    logger: log,
  })
  try {
    const peer = await firstThatAnswers(transport, options)
    const attachment = new Attachment({ transport, peer, addresses: options.peers })
    const access = attachedAccess(transport, attachment)
    const { defaultPartitions, globals, waitMs, onWaiting, onStale, onTaskOutput } = options
    const mesh = new Mesh(access, log, {
      ...(waitMs === undefined ? {} : { waitMs }),
      ...(onWaiting === undefined ? {} : { onWaiting }),
      ...(onStale === undefined ? {} : { onStale }),
      ...(onTaskOutput === undefined ? {} : { onTaskOutput }),
      ...(defaultPartitions === undefined ? {} : { defaultPartitions }),
      ...(globals === undefined ? {} : { globals }),
      onClose: async () => {
        attachment[Symbol.dispose]()
        await transport.close()
      },
    })
    mesh.start()
    return mesh
  } catch (error) {
    await transport.close()
    throw error
  }
}

async function firstThatAnswers(transport: PeerTransport, options: AttachOptions): Promise<PeerId> {
  const { peers, timeoutMs = 5_000 } = options
  let last: unknown
  for (const address of peers) {
    const signals = [
      AbortSignal.timeout(timeoutMs),
      ...(options.signal === undefined ? [] : [options.signal]),
    ]
    try {
      return await transport.dialAddress(address, { signal: AbortSignal.any(signals) })
    } catch (error) {
      options.signal?.throwIfAborted()
      last = error
    }
  }
  if (last instanceof ShoalError && last.code !== 'UNREACHABLE' && last.code !== 'TIMEOUT') throw last
  throw new ShoalError(
    'UNREACHABLE',
    { peer: peers[0] ?? '', addresses: [...peers] },
    peers.length === 0
      ? 'no peer to attach to is known: start one with `shoal up`, or name one with --peer ADDRESS'
      : `none of these peers answers: ${peers.join(', ')}; is the mesh up (\`shoal up\`), and is its key the right one?`,
    { cause: last },
  )
}

function attachedAccess(transport: PeerTransport, attachment: Attachment): MeshAccess {
  /** Asks the peer one is attached to, and the next one when that is gone; only for what may arrive twice. */
  const relayed = async <T>(
    { signal }: AbortOptions,
    ask: (peer: PeerId, signal: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    for (let tries = 1; ; tries++) {
      const waiting = attachment.peer()
      const peer = await (signal === undefined ? waiting : raceAbort(waiting, signal))
      const lost = new AbortController()
      const probe = setTimeout(() => {
        attachment.probe(peer).catch((error: unknown) => lost.abort(error))
      }, PROBE_AFTER_MS)
      try {
        return await ask(peer, AbortSignal.any([lost.signal, ...(signal === undefined ? [] : [signal])]))
      } catch (error) {
        const isLost = attachment.onError(peer, error)
        if (!isLost || tries === RELAY_TRIES_MAX || signal?.aborted === true) throw error
      } finally {
        clearTimeout(probe)
      }
    }
  }
  return {
    requester: () => {
      const { peer, epoch } = attachment.current()
      return { client: transport.self, relay: peer, epoch }
    },
    async callLeader(type, head, { body, ...options } = {}) {
      attachment.prepare()
      const reply = await relayed(options, (peer, signal) =>
        transport.call(
          peer,
          relayToLeader,
          { type: type.name, head },
          {
            signal,
            timeoutMs: RELAY_TIMEOUT_MS,
            ...(body === undefined ? {} : { body: bodyOf(body) }),
          },
        ),
      )
      return type.reply.parse(reply.head.head)
    },
    async callPeer(to, type, head, options = {}) {
      const reply = await relayed(options, peer =>
        // Its body comes after the answer, and is not to be ended by what looks at the relay meanwhile.
        transport.call(peer, relayToPeer, { peer: to, type: type.name, head }, options),
      )
      return { head: type.reply.parse(reply.head.head), body: reply.body }
    },
    async callAttached(type, head, options) {
      const waiting = attachment.peer()
      const asked = await (options?.signal === undefined ? waiting : raceAbort(waiting, options.signal))
      try {
        return await transport.call(asked, type, head, options)
      } catch (error) {
        attachment.onError(asked, error)
        throw error
      }
    },
    handle: (type, handler) => transport.handle(type, handler),
    onLeaderChange(listener) {
      transport.handle(leaderChanged, listener)
    },
    onReattached(listener) {
      attachment.onMoved(listener)
    },
  }
}

/** The peer itself gives up after LEADER_CALL.quorumWaitMs; this is the net below. */
const RELAY_TIMEOUT_MS = 30_000
/** A peer that has left a question open for so long is asked for a sign of life: the leader may only be slow. */
const PROBE_AFTER_MS = 3_000
/** Peers asked one after the other, as each dies with the question: more is the death of the mesh. */
const RELAY_TRIES_MAX = 5
