import { ShoalError, type Logger } from '../base/index.ts'
import { attach } from './attach.ts'
import { MeshDirectory } from './mesh-directory.ts'
import type { Mesh, MeshOptions } from './mesh.ts'
import { readMeshKeyFile } from './net/index.ts'

export interface ConnectOptions extends MeshOptions {
  /** A multiaddr, or the name of a local peer. @default SHOAL_PEER, else the first peer of the nearest `.shoal` */
  peer?: string
  /** A `mesh.key` file. @default SHOAL_KEY, else that of the nearest `.shoal` */
  keyFile?: string
  /** Where to look for `.shoal`, upwards. @default the working directory */
  from?: string
  name?: string
  log?: Logger
  signal?: AbortSignal
}

/**
 * Attaches this program to a running mesh.
 * @throws NOT_A_MESH when none is found, UNREACHABLE when no peer of it answers, NOT_ADMITTED when the key is not its key.
 */
export async function connect(options: ConnectOptions = {}): Promise<Mesh> {
  const { peer = process.env['SHOAL_PEER'], keyFile = process.env['SHOAL_KEY'], from, ...rest } = options
  const directory = MeshDirectory.find(from)
  const meshKey = await keyOf(directory, keyFile)
  const peers = await addressesOf(directory, peer)
  return await attach({ ...rest, peers, meshKey })
}

async function keyOf(directory: MeshDirectory | undefined, keyFile: string | undefined): Promise<Uint8Array> {
  if (keyFile !== undefined) return await readMeshKeyFile(keyFile)
  if (directory !== undefined) return await directory.meshKey()
  throw new ShoalError(
    'NOT_A_MESH',
    { directory: process.cwd() },
    'no mesh here or in a folder above: start one with `shoal up`, or name a peer (--peer, SHOAL_PEER) and its key (--key, SHOAL_KEY)',
  )
}

async function addressesOf(
  directory: MeshDirectory | undefined,
  peer: string | undefined,
): Promise<string[]> {
  if (peer?.startsWith('/') === true) return [peer]
  const local = (await directory?.peers()) ?? []
  if (peer === undefined) return local.flatMap(({ addresses }) => addresses)
  const named = local.find(({ name }) => name === peer)
  if (named !== undefined) return named.addresses
  const names = local.map(({ name }) => name).join(', ')
  throw new ShoalError(
    'UNREACHABLE',
    { peer },
    `no running local peer is called ${peer}${names === '' ? '' : `; there are ${names}`}`,
  )
}
