import type { BodyClass } from '../../base/index.ts'

const KIB = 1024
const MIB = 1024 * KIB

/** Inbound bodies of one class, over all connections of the process. */
export interface BodyBudgetLimits {
  /** Bodies read at once; more wait, without credit, in order. Whoever reads several at once stays below it. */
  bodiesMax: number
  /** Bytes that all of them together may be sent ahead of their readers. */
  bytesMax: number
}

/** Limits of one frame channel. */
export interface ChannelLimits {
  /** Head of one request, reply or one-way message; larger things are bodies. TOO_LARGE where it is sent. @default 1 MiB */
  headBytesMax: number
  /** A body known whole up to here rides in the frame of its head: a stream costs a round trip more. @default 64 KiB */
  inlineBodyBytesMax: number
  /** Payload of one DATA frame: small enough that control frames get in between. @default 256 KiB */
  dataBytesMax: number
  /** Requests of one remote under way; more are refused with BUSY. Also our own unanswered calls. @default 1024 */
  requestsMax: number
  /** One-way messages being handled, and waiting to be written; more are dropped. @default 1024 */
  notesMax: number
  /** Bytes queued for a remote that does not read; past it the channel is given up. @default 16 MiB */
  outboundBytesMax: number
  /** Until the remote has said who it is. @default 5000 */
  helloTimeoutMs: number
  /** A body neither fed nor read for this long fails with TIMEOUT and frees its credit. @default 60_000 */
  bodyIdleTimeoutMs: number
  /** How often a silent remote is asked for a sign of life while something is under way. @default 1000 */
  pingIntervalMs: number
  /** Silence after which it counts as gone. Below 3 s a loaded mesh tears itself apart (measured). @default 5000 */
  idleLimitMs: number
}

export const CHANNEL_LIMITS: ChannelLimits = {
  headBytesMax: MIB,
  inlineBodyBytesMax: 64 * KIB,
  dataBytesMax: 256 * KIB,
  requestsMax: 1024,
  notesMax: 1024,
  outboundBytesMax: 16 * MIB,
  helloTimeoutMs: 5_000,
  bodyIdleTimeoutMs: 60_000,
  pingIntervalMs: 1_000,
  idleLimitMs: 5_000,
}

/** Credit of a body when there is room: enough to keep one TLS stream busy (measured: 1 MiB is a third slower without TLS). */
export const BODY_WINDOW_BYTES = 2 * MIB
/** Least credit of an admitted body, whatever the others hold. */
export const BODY_WINDOW_BYTES_MIN = 64 * KIB

/** Together they bound what remotes can make this process hold: 80 MiB. */
export const BODY_BUDGETS: Record<BodyClass, BodyBudgetLimits> = {
  ingress: { bodiesMax: 64, bytesMax: 16 * MIB },
  replica: { bodiesMax: 64, bytesMax: 16 * MIB },
  // A shuffle merge reads many buckets at once, and stalls when one of them is kept waiting.
  fetch: { bodiesMax: 256, bytesMax: 32 * MIB },
  result: { bodiesMax: 64, bytesMax: 16 * MIB },
}

export interface TransportLimits {
  /** One dial with TLS and admission (measured: p95 33 ms). @default 5000 */
  dialTimeoutMs: number
  /** How often missing peers are dialled again: without it restarted peers stay an island. @default 1000 */
  redialIntervalMs: number
  /** Connections beyond which missing peers are dialled on demand only. @default 50 */
  redialConnectionsMax: number
  /** One-way messages that wait for a dial, per target; the oldest are dropped. @default 64 */
  notesWaitingMax: number
  /** Addresses remembered per peer; the oldest are dropped. @default 16 */
  addressesPerPeerMax: number
  /** One gossip message, sent or taken. @default 64 KiB */
  gossipBytesMax: number
}

export const TRANSPORT_LIMITS: TransportLimits = {
  dialTimeoutMs: 5_000,
  redialIntervalMs: 1_000,
  redialConnectionsMax: 50,
  notesWaitingMax: 64,
  addressesPerPeerMax: 16,
  gossipBytesMax: 64 * KIB,
}
