import * as disk from 'node:fs/promises'
import { z } from 'zod'
import { asPeerId, message, type Logger, type PeerId, type Transport } from '../base/index.ts'
import type { StoreFs } from '../dht/index.ts'

/** Longest that one order lasts: whoever gave it may be gone. */
const CHAOS_MS_MAX = 10 * 60_000
const PEERS_MAX = 1_024

const forMs = z.int().min(0).max(CHAOS_MS_MAX)

/** Have no connection with these peers for so long; a later order replaces an earlier one. Only with `allowChaos`. */
export const chaosCut = message({
  name: 'node.chaos.cut',
  from: 'everyone',
  request: z.object({ peers: z.array(z.string().min(1).max(128)).max(PEERS_MAX), forMs }),
  reply: z.object({}),
})

/** Take the disk for full for so long. Only with `allowChaos`. */
export const chaosFill = message({
  name: 'node.chaos.fill',
  from: 'everyone',
  request: z.object({ forMs }),
  reply: z.object({}),
})

/** Does harm to its own peer on demand; each harm ends by itself. */
export class ChaosOrders implements Disposable {
  /** For the block store: the real file system, but for what it says of free space. */
  readonly fs: StoreFs
  #cutTimer: NodeJS.Timeout | undefined
  #fullUntilMs = 0

  constructor() {
    this.fs = {
      ...disk,
      statfs: async path => {
        const { bavail, bsize } = await disk.statfs(path)
        return { bavail: performance.now() < this.#fullUntilMs ? 0 : bavail, bsize }
      },
    }
  }

  start(transport: Transport & { refuse(peers: readonly PeerId[]): void }, log: Logger): void {
    transport.handle(chaosCut, ({ head }) => {
      log.warn(head, 'cut off from other peers, as ordered')
      clearTimeout(this.#cutTimer)
      transport.refuse(head.peers.map(asPeerId).filter(peer => peer !== transport.self))
      this.#cutTimer = setTimeout(() => transport.refuse([]), head.forMs)
      this.#cutTimer.unref()
      return {}
    })
    transport.handle(chaosFill, ({ head }) => {
      log.warn(head, 'the disk counts as full, as ordered')
      this.#fullUntilMs = performance.now() + head.forMs
      return {}
    })
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#cutTimer)
  }
}
