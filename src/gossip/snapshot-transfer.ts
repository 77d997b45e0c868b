import { ShoalError } from '../base/index.ts'
import type { Incoming, MeshId, PeerId, Transport } from '../base/index.ts'
import type { ReplicatedLogOptions } from './config.ts'
import type { LogStore } from './log-store.ts'
import { raftSnapshotType } from './messages.ts'
import type { RaftSnapshotHead } from './messages.ts'
import type { Snapshot } from './raft-types.ts'

export interface SnapshotTransferPort {
  transport: Transport
  store: LogStore
  meshId: MeshId
  limits: ReplicatedLogOptions
  /** A transfer that takes longer is given up. */
  timeoutMs: number
  /** Ends all transfers. */
  signal: AbortSignal
  /** The term of this peer. */
  term(): number
  /** A whole snapshot came in from a peer that says it leads in `term`. */
  received(from: PeerId, term: number, snapshot: Snapshot): void
}

/** Body chunk of a snapshot under way. */
const CHUNK_BYTES = 256 * 1024

/** Brings whole states to peers that need entries that are compacted away. They travel as bodies, checked by length. */
export class SnapshotTransfer {
  readonly #port: SnapshotTransferPort
  #sending = 0
  #receiving = false

  constructor(port: SnapshotTransferPort) {
    this.#port = port
    port.transport.handle(raftSnapshotType, incoming => this.#receive(incoming))
  }

  /** Sends the newest snapshot. False when there is none or too many are being sent; rejects when it did not arrive. */
  async send(to: PeerId, term: number): Promise<boolean> {
    const { store, transport, meshId, limits, timeoutMs, signal } = this.#port
    if (this.#sending >= limits.snapshotsMax) return false
    this.#sending++
    try {
      const snapshot = await store.readSnapshot()
      if (snapshot === undefined) return false
      const { data, ...meta } = snapshot
      const head = { meshId, term, snapshot: meta, sizeBytes: data.byteLength }
      await transport.call(to, raftSnapshotType, head, { body: chunksOf(data), timeoutMs, signal })
      return true
    } finally {
      this.#sending--
    }
  }

  async #receive({ from, head, body }: Incoming<RaftSnapshotHead>): Promise<Record<string, never>> {
    const { meshId, limits } = this.#port
    const seen = this.#port.term()
    const { snapshot, sizeBytes } = head
    if (head.meshId !== meshId) throw new ShoalError('MESH_MISMATCH', { mine: meshId, theirs: head.meshId })
    if (head.term < seen) throw new ShoalError('STALE_LEADER', { term: head.term, seen })
    if (sizeBytes > limits.snapshotBytesMax) {
      const limitBytes = limits.snapshotBytesMax
      throw new ShoalError('TOO_LARGE', { what: 'a snapshot of the log', bytes: sizeBytes, limitBytes })
    }
    if (this.#receiving) throw new ShoalError('BUSY', { what: 'taking in a snapshot', limit: 1 })
    this.#receiving = true
    try {
      this.#port.received(from, head.term, { ...snapshot, data: await collect(body, sizeBytes) })
      return {}
    } finally {
      this.#receiving = false
    }
  }
}

/** The whole body, which must be as long as it was announced. */
async function collect(body: AsyncIterable<Uint8Array>, sizeBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.byteLength
    if (bytes > sizeBytes) break
    chunks.push(chunk)
  }
  if (bytes !== sizeBytes) {
    const reason = `${sizeBytes} bytes were announced, and at least ${bytes} came`
    throw new ShoalError('BAD_MESSAGE', { type: raftSnapshotType.name, reason })
  }
  return Buffer.concat(chunks, bytes)
}

async function* chunksOf(data: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.byteLength; at += CHUNK_BYTES) yield data.subarray(at, at + CHUNK_BYTES)
}
