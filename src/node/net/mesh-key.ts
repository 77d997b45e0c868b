import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { ShoalError } from '../../base/index.ts'
import { createSecretFile, readSecretFile, SECRET_BYTES } from './secret-file.ts'

export const MESH_KEY_FILE = 'mesh.key'

/** A new mesh's secret: random, for a listener learns a proof of it that could be guessed against. */
export function newMeshKey(): Uint8Array {
  return randomBytes(SECRET_BYTES)
}

/**
 * Keeps the mesh's secret in `mesh.key`, mode 0600.
 * @throws ALREADY_EXISTS when there is another one, DATA_DIR_INVALID when it cannot be written.
 */
export async function writeMeshKey(directory: string, secret: Uint8Array): Promise<void> {
  const path = join(directory, MESH_KEY_FILE)
  if (await createSecretFile(path, secret)) return
  const present = await readSecretFile(path)
  if (present !== undefined && Buffer.compare(present, secret) === 0) return
  throw new ShoalError('ALREADY_EXISTS', { path }, `${path} holds the secret of another mesh`)
}

/** @throws NOT_A_MESH when there is none, DATA_DIR_INVALID when it is not 64 hexadecimal digits. */
export async function readMeshKey(directory: string): Promise<Uint8Array> {
  const secret = await readSecretFile(join(directory, MESH_KEY_FILE))
  if (secret !== undefined) return secret
  throw new ShoalError(
    'NOT_A_MESH',
    { directory },
    `${directory} has no ${MESH_KEY_FILE}: copy it from a peer of the mesh, or start a new mesh there`,
  )
}

/** The secret in a key file of any name. @throws LOCAL_FILE when there is none, DATA_DIR_INVALID when it is none. */
export async function readMeshKeyFile(path: string): Promise<Uint8Array> {
  const secret = await readSecretFile(path)
  if (secret !== undefined) return secret
  throw new ShoalError('LOCAL_FILE', { path, reason: 'no such file' }, `there is no key file ${path}`)
}
