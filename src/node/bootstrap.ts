import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asMeshId, hasCode, ShoalError, sleep, toWire, type Logger, type MeshId } from '../base/index.ts'
import { MEMBERS_KEEPER, PEER } from './config.ts'
import type { DataDirectory } from './data-directory.ts'
import { loadIdentity, newMeshKey, PeerTransport, readMeshKey, writeMeshKey } from './net/index.ts'
import { isErrno } from './net/secret-file.ts'
import type { PeerOptions } from './peer-options.ts'

export interface Bootstrapped {
  transport: PeerTransport
  meshId: MeshId
  name: string
  /** This start creates the mesh. */
  genesis: boolean
  /** Drawn when the directory was made: with another one under the same key, the peer has forgotten what it promised. */
  directoryId: string
}

const DIRECTORY_ID = /^[0-9a-f]{24}$/

/** From a data directory to a started transport that knows its mesh: created, joined or gone back to. */
export async function bootstrap(
  directory: DataDirectory,
  options: PeerOptions,
  log: Logger,
): Promise<Bootstrapped> {
  const identity = await loadIdentity(directory.path)
  const record = await directory.readMesh()
  const seeds = options.join ?? []
  // Also one that was cut off before its log was made: others may have joined it by then.
  const founding = record === undefined ? seeds.length === 0 : record.founding === true
  const secret = await meshSecret(directory, options.meshKey, record !== undefined && !founding, founding)
  const name = options.name ?? record?.name ?? identity.id.slice(-6)
  const known = record?.meshId ?? (founding ? asMeshId(randomBytes(16).toString('hex')) : undefined)
  if (founding && known !== undefined)
    await directory.writeMesh({ meshId: known, name, generation: 1, founding })
  const transport = await PeerTransport.open({
    key: identity.key,
    secret,
    role: 'peer',
    meshId: known,
    name,
    listen: options.listen ?? PEER.listen,
    handlersFollow: true,
    ...(options.announce === undefined ? {} : { announce: options.announce }),
    ...(options.dialFrom === undefined ? {} : { dialFrom: options.dialFrom }),
    logger: log,
  })
  try {
    const meshId = known ?? (await askMeshId(transport, seeds, log, options.signal))
    const directoryId = await directoryIdOf(directory)
    // The founder records its mesh as founded only once its log says so too: see `createPeer`.
    if (!founding)
      await directory.writeMesh({ ...record, meshId, name, generation: (record?.generation ?? 0) + 1 })
    return { transport, meshId, name, genesis: founding, directoryId }
  } catch (error) {
    await transport.close()
    throw error
  }
}

async function meshSecret(
  directory: DataDirectory,
  given: Uint8Array | undefined,
  member: boolean,
  founding: boolean,
): Promise<Uint8Array> {
  if (member) return await readMeshKey(directory.path)
  if (founding) {
    // An earlier start may have been cut off right here.
    const kept = given ?? (await readMeshKey(directory.path).catch(() => undefined))
    const secret = kept ?? newMeshKey()
    await writeMeshKey(directory.path, secret)
    return secret
  }
  const secret = given ?? (await readMeshKey(directory.path).catch(() => undefined))
  if (secret === undefined) {
    throw new ShoalError(
      'NOT_ADMITTED',
      { reason: 'no mesh key' },
      `joining a mesh needs its secret: copy mesh.key of one of its peers and name it with --mesh-key`,
    )
  }
  await writeMeshKey(directory.path, secret)
  return secret
}

/** Tries the seeds until one answers: a joiner never founds a mesh of its own. A wrong secret ends it at once. */
async function askMeshId(
  transport: PeerTransport,
  seeds: readonly string[],
  log: Logger,
  signal: AbortSignal | undefined,
): Promise<MeshId> {
  let pauseMs: number = MEMBERS_KEEPER.joinRetryMinMs
  for (;;) {
    for (const seed of seeds) {
      signal?.throwIfAborted()
      try {
        await transport.dialAddress(seed, { signal })
        if (transport.meshId !== undefined) return transport.meshId
      } catch (error) {
        if (
          hasCode(error, 'NOT_ADMITTED') ||
          hasCode(error, 'MESH_MISMATCH') ||
          hasCode(error, 'CONFIG_INVALID')
        ) {
          throw error
        }
        log.warn({ seed, error: toWire(error).message }, 'cannot reach the peer to join; trying again')
      }
    }
    await sleep(pauseMs, { signal })
    pauseMs = Math.min(pauseMs * 2, MEMBERS_KEEPER.joinRetryMaxMs)
  }
}

async function directoryIdOf(directory: DataDirectory): Promise<string> {
  const path = join(directory.metaPath, 'directory.id')
  const kept = await readFile(path, 'utf8').catch((error: unknown) => {
    if (isErrno(error, 'ENOENT')) return ''
    throw error
  })
  if (DIRECTORY_ID.test(kept)) return kept
  // Also over one that a kill cut off as it was written: nobody was told that.
  const drawn = randomBytes(12).toString('hex')
  await writeFile(path, drawn, { mode: 0o600, flush: true })
  return drawn
}
