import { z } from 'zod'
import {
  asPeerId,
  message,
  ShoalError,
  type MessageType,
  type PeerId,
  type Transport,
} from '../base/index.ts'
import {
  acceptResult,
  accumulatorUpdates,
  cancelJob,
  closeJob,
  dropBroadcast,
  detachJob,
  fetchResult,
  jobEvents,
  JOBS,
  jobUpdate,
  listKept,
  renewLease,
  resultLost,
  resultReady,
  submitJob,
  taskOutput,
  takeResult,
  unpersist,
  type Requester,
} from '../rdd/index.ts'
import { wantBroadcast } from './broadcast/messages.ts'
import type { LeaderCaller } from './leader-caller.ts'
import { peerStatus } from './log-messages.ts'

/**
 * A client has one connection, to the peer it is attached to, which passes on what the client and the rest of the mesh
 * say to each other. It only relays: it keeps no state of the job.
 */

/** What a client may ask through its peer, of the leader or of an executor. */
const TO_LEADER = table(
  submitJob,
  cancelJob,
  closeJob,
  renewLease,
  resultLost,
  unpersist,
  listKept,
  dropBroadcast,
  detachJob,
  takeResult,
)
const TO_PEER = table(fetchResult, acceptResult, jobEvents, peerStatus)
/** What peers may tell a client. */
const TO_CLIENT = table(jobUpdate, resultReady, accumulatorUpdates, taskOutput, wantBroadcast)

function table(...types: { name: string }[]): ReadonlyMap<string, MessageType<unknown, unknown>> {
  return new Map(types.map(type => [type.name, type as MessageType<unknown, unknown>]))
}

export const relayToLeader = message({
  name: 'node.relay.leader',
  from: 'everyone',
  bodyClass: 'ingress',
  request: z.object({ type: z.string(), head: z.unknown() }),
  reply: z.object({ head: z.unknown() }),
})

export const relayToPeer = message({
  name: 'node.relay.peer',
  from: 'everyone',
  bodyClass: 'result',
  request: z.object({ peer: z.string(), type: z.string(), head: z.unknown() }),
  reply: z.object({ head: z.unknown() }),
})

const relayToClient = message({
  name: 'node.relay.client',
  from: 'peers',
  request: z.object({ client: z.string(), type: z.string(), head: z.unknown() }),
  reply: z.object({ head: z.unknown() }),
})

/** Says something to a requester, wherever it is attached. */
export type Deliver = <Request, Reply>(
  to: Requester,
  type: MessageType<Request, Reply>,
  head: Request,
) => Promise<Reply>

export class Relay {
  readonly #transport: Transport
  readonly #leader: LeaderCaller

  constructor(options: { transport: Transport; leader: LeaderCaller }) {
    this.#transport = options.transport
    this.#leader = options.leader
  }

  start(): void {
    this.#transport.handle(relayToLeader, async ({ head, body, signal }) => {
      const type = lookUp(TO_LEADER, head.type)
      const bytes = await collect(body, JOBS.planBytesMax)
      return { head: await this.#leader.call(type, head.head, { signal, body: bytes }) }
    })
    this.#transport.handle(relayToPeer, async ({ head, signal }) => {
      const type = lookUp(TO_PEER, head.type)
      const reply = await this.#transport.call(asPeerId(head.peer), type, head.head, { signal })
      return { head: { head: reply.head }, body: reply.body }
    })
    this.#transport.handle(relayToClient, async ({ head, signal }) => {
      const type = lookUp(TO_CLIENT, head.type)
      const reply = await this.#transport.call(asPeerId(head.client), type, head.head, { signal })
      return { head: reply.head }
    })
  }

  readonly deliver: Deliver = async (to, type, head) => {
    const { self } = this.#transport
    if (to.relay === self) return (await this.#transport.call(to.client as PeerId, type, head)).head
    const reply = await this.#transport.call(asPeerId(to.relay), relayToClient, {
      client: to.client,
      type: type.name,
      head,
    })
    return type.reply.parse(reply.head.head)
  }
}

function lookUp(
  types: ReadonlyMap<string, MessageType<unknown, unknown>>,
  name: string,
): MessageType<unknown, unknown> {
  const type = types.get(name)
  if (type === undefined) throw new ShoalError('UNKNOWN_MESSAGE', { type: name }, `${name} is not relayed`)
  return type
}

export async function collect(body: AsyncIterable<Uint8Array>, limitBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.byteLength
    if (bytes > limitBytes) throw new ShoalError('TOO_LARGE', { what: 'request body', bytes, limitBytes })
    chunks.push(chunk)
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
}
