import type { PeerOptions, PeerStatus } from '../../src/node/index.ts'

/** What a peer process is started with: the options of `createPeer` that are plain data. */
export interface PeerSettings extends Omit<PeerOptions, 'log' | 'signal' | 'meshKey'> {
  name: string
  meshKeyHex?: string
  /** @default 'info' */
  logLevel?: string
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
