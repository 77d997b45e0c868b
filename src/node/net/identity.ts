import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import type { Ed25519PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { asPeerId } from '../../base/index.ts'
import type { PeerId } from '../../base/index.ts'
import { createSecretFile, readSecretFile, SECRET_BYTES } from './secret-file.ts'

export const IDENTITY_FILE = 'identity.key'

/** An ed25519 key and the id that follows from it. */
export interface Identity {
  key: Ed25519PrivateKey
  id: PeerId
}

/**
 * The peer's key, kept as its seed in `identity.key`; made when there is none. Whoever loses it is another peer.
 * @throws DATA_DIR_INVALID when the file is no key or cannot be written.
 */
export async function loadIdentity(directory: string): Promise<Identity> {
  const path = join(directory, IDENTITY_FILE)
  const kept = await readSecretFile(path)
  if (kept !== undefined) return fromSeed(kept)
  const seed = randomBytes(SECRET_BYTES)
  if (await createSecretFile(path, seed)) return fromSeed(seed)
  return loadIdentity(directory)
}

/** A key that lives as long as the process: for clients. */
export function passingIdentity(): Promise<Identity> {
  return fromSeed(randomBytes(SECRET_BYTES))
}

async function fromSeed(seed: Uint8Array): Promise<Identity> {
  const key = await generateKeyPairFromSeed('Ed25519', seed)
  return { key, id: asPeerId(peerIdFromPrivateKey(key).toString()) }
}
