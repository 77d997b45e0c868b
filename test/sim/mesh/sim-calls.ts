import type { BlockId, PeerId } from '../../../src/base/index.ts'
import type { LogCommand, LogResult } from '../../../src/node/replicated-state.machine.ts'
import type { Surroundings } from '../world.ts'
import { waitFor } from './task.ts'
import type { Task } from './task.ts'

export interface Failure {
  ok: false
  code: string
  leader?: PeerId | undefined
}

/** What peers ask each other besides membership and log: as the messages of `src/dht` and `src/node`, without the wire. */
export interface SimCalls {
  propose: { request: { command: LogCommand }; reply: { ok: true; index: number; result: LogResult } }
  'block-write': {
    request: { blockId: BlockId; bytes: Uint8Array; leaseIndex: number }
    reply: { ok: true; sha256: string }
  }
  'block-read': { request: { blockId: BlockId }; reply: { ok: true; bytes: Uint8Array } }
  'block-copy': {
    request: { blockId: BlockId; sha256: string; from: readonly PeerId[] }
    reply: { ok: true }
  }
  'block-delete': {
    request: { blockId: BlockId; appliedIndex: number }
    reply: { ok: true; deleted: boolean }
  }
}

export type CallType = keyof SimCalls
export type Reply<Type extends CallType> = SimCalls[Type]['reply'] | Failure
/** How a peer answers each call. */
export type Handlers = {
  [Type in CallType]: (request: SimCalls[Type]['request']) => Task<Reply<Type>> | Reply<Type>
}

export type CallPayload =
  | { kind: 'call'; id: number; type: CallType; request: unknown }
  | { kind: 'reply'; id: number; reply: unknown }

interface Pending {
  to: PeerId
  done: (reply: never) => void
}

/** Calls with deadlines between simulated peers. A lost connection ends those under way, as in the real channel. */
export class Calls {
  readonly #around: Surroundings
  readonly #serve: (from: PeerId, payload: Extract<CallPayload, { kind: 'call' }>) => void
  readonly #pending = new Map<number, Pending>()
  #lastId = 0

  constructor(around: Surroundings, serve: (from: PeerId, payload: CallPayload & { kind: 'call' }) => void) {
    this.#around = around
    this.#serve = serve
  }

  *call<Type extends CallType>(
    to: PeerId,
    type: Type,
    request: SimCalls[Type]['request'],
    timeoutMs: number,
  ): Task<Reply<Type>> {
    return yield* waitFor<Reply<Type>>(done => {
      // Ids of an earlier life must not be taken for ours.
      const id = ++this.#lastId + Math.floor(this.#around.nowMs()) * 1_000
      this.#pending.set(id, { to, done })
      this.#around.after(timeoutMs, () => this.#fail(id, 'TIMEOUT'))
      this.#around.send(to, { kind: 'call', id, type, request })
    })
  }

  receive(from: PeerId, payload: CallPayload): void {
    if (payload.kind === 'call') {
      this.#serve(from, payload)
      return
    }
    const pending = this.#pending.get(payload.id)
    if (pending?.to !== from) return
    this.#pending.delete(payload.id)
    pending.done(payload.reply as never)
  }

  answer(to: PeerId, id: number, reply: unknown): void {
    this.#around.send(to, { kind: 'reply', id, reply })
  }

  connectionClosed(peer: PeerId): void {
    for (const [id, { to }] of this.#pending) if (to === peer) this.#fail(id, 'CONNECTION_LOST')
  }

  #fail(id: number, code: string): void {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    pending?.done({ ok: false, code } as never)
  }
}
