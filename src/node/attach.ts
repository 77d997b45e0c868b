import { bodyOf, raceAbort, ShoalError, silentLogger, type Logger, type PeerId } from '../base/index.ts'
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
 * another one does, for all but jobs.
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
    const access = attachedAccess(transport, peer, attachment)
    const { defaultPartitions, globals, waitMs, onWaiting } = options
    const mesh = new Mesh(access, log, {
      ...(waitMs === undefined ? {} : { waitMs }),
      ...(onWaiting === undefined ? {} : { onWaiting }),
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

/** Jobs stay with the first peer, which passes on their results; all else goes on at another one when it is gone. */
function attachedAccess(transport: PeerTransport, peer: PeerId, attachment: Attachment): MeshAccess {
  return {
    requester: () => ({ client: transport.self, relay: peer, epoch: 0 }),
    async callLeader(type, head, { body, signal } = {}) {
      const reply = await transport.call(
        peer,
        relayToLeader,
        { type: type.name, head },
        { signal, timeoutMs: RELAY_TIMEOUT_MS, ...(body === undefined ? {} : { body: bodyOf(body) }) },
      )
      return type.reply.parse(reply.head.head)
    },
    async callPeer(to, type, head, { signal } = {}) {
      const reply = await transport.call(peer, relayToPeer, { peer: to, type: type.name, head }, { signal })
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
  }
}

/** The peer itself gives up after LEADER_CALL.quorumWaitMs; this is the net below. */
const RELAY_TIMEOUT_MS = 30_000
