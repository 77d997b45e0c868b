import { hasCode, sleep, type AbortOptions } from '../base/index.ts'
import { QUORUM_PATIENCE } from './config.ts'
import type { MeshAccess } from './mesh-access.ts'

export interface Patience {
  /** A call that no leader has heard is put again for so long; 0: never. @default QUORUM_PATIENCE.waitMs */
  waitMs?: number
  /** Told once for each call that has to wait. */
  onWaiting?: () => void
}

/**
 * The client's share of waiting for a leader: a peer answers NO_QUORUM soon, so that nobody takes silence for work, and
 * nothing has happened then; a client asks again quietly for a while. Calls with a stream are not put again: their
 * beginning may be gone.
 */
export function patient(access: MeshAccess, patience: Patience = {}): MeshAccess {
  const { waitMs = QUORUM_PATIENCE.waitMs, onWaiting } = patience
  const again = async <T>(call: () => Promise<T>, { signal }: AbortOptions): Promise<T> => {
    const untilMs = performance.now() + waitMs
    for (let tries = 0; ; tries++) {
      try {
        return await call()
      } catch (error) {
        if (!hasCode(error, 'NO_QUORUM') || performance.now() >= untilMs) throw error
        if (tries === 0) onWaiting?.()
        await sleep(QUORUM_PATIENCE.pauseMs, { signal })
      }
    }
  }
  return {
    requester: () => access.requester(),
    callLeader: (type, head, options = {}) => again(() => access.callLeader(type, head, options), options),
    callPeer: (peer, type, head, options) => access.callPeer(peer, type, head, options),
    callAttached: (type, head, options = {}) =>
      options.body === undefined
        ? again(() => access.callAttached(type, head, options), options)
        : access.callAttached(type, head, options),
    handle: (type, handler) => access.handle(type, handler),
    onLeaderChange: listener => access.onLeaderChange(listener),
    onReattached: listener => access.onReattached(listener),
  }
}
