import type { PeerOptions, PeerStatus } from '../../src/node/index.ts'

/** What a peer process is started with: the options of `createPeer` that are plain data. */
export interface PeerSettings extends Omit<PeerOptions, 'log' | 'signal' | 'meshKey'> {
  name: string
  meshKeyHex?: string
  /** @default 'info' */
  logLevel?: string
  /** Its wall clock is so far ahead of the machine's; negative: behind. @default 0 */
  clockOffsetMs?: number
}

/** What a peer process says to whoever started it. */
export type PeerReport =
  | { type: 'serving'; id: string; addresses: string[] }
  | { type: 'failed'; code: string; message: string }
  | { type: 'status'; seq: number; status: PeerStatus }

/** What it is asked. */
export interface StatusQuestion {
  type: 'status'
  seq: number
}

/** What it is told: somebody sets its wall clock, or its disk no longer makes durable what lies below such paths. */
export type FaultOrder =
  | { type: 'clock'; offsetMs: number }
  | { type: 'fail-syncs'; paths: readonly string[] }
