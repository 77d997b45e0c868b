import { sleep, type Logger, type PeerId, type ShoalError } from '../base/index.ts'
import type { BlockStore } from '../dht/index.ts'
import { MEMBERS_KEEPER } from './config.ts'
import type { MeshLog } from './mesh-log.ts'

export interface StoreFailureParts {
  self: PeerId
  store: Pick<BlockStore, 'onFailure'>
  meshLog: Pick<MeshLog, 'proposeMember'>
  log: Logger
  signal: AbortSignal
}

/**
 * A peer whose blocks' disk has failed goes on as a member, but takes no blocks any more: its weight becomes 0, so that its
 * slots move to others. The audit tells the log what it held. Whoever mends the disk gives it its weight back.
 */
export function giveUpFailedStore({ self, store, meshLog, log, signal }: StoreFailureParts): void {
  const tell = async (failure: ShoalError): Promise<void> => {
    log.error({ reason: failure.message }, 'the block store has failed: this peer gives up its slots')
    while (!signal.aborted) {
      try {
        const { ok } = await meshLog.proposeMember(
          { type: 'peer-weigh', peerId: self, weight: 0 },
          { signal },
        )
        if (ok) return
      } catch (error) {
        log.debug({ reason: String(error) }, 'the failed store could not be reported yet')
      }
      await sleep(MEMBERS_KEEPER.joinRetryMaxMs, { signal }).catch(() => undefined)
    }
  }
  store.onFailure(failure => void tell(failure))
}
