import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { asMeshId, pack, ShoalError, unpack } from '../../base/index.ts'
import type { MeshId } from '../../base/index.ts'

/** Opens a stream to the frame channel of a peer; the number rises when frames change. */
export const FRAME_PROTOCOL = '/shoal/frame/1'

/** A peer keeps data and can be a member; a client only asks. */
export type Role = 'peer' | 'client'

/** What both ends of a channel say first. Whoever holds the mesh's secret is believed. */
export interface Hello {
  /** Of the message types; for people and logs, nothing is refused by it. */
  version: number
  role: Role
  /** For people. */
  name: string
  /** Undefined while one does not know it yet: a client, or a peer about to join. */
  meshId?: MeshId | undefined
  /** Where a peer listens. */
  addresses: string[]
}

export const HELLO_VERSION = 1
export const NAME_CHARS_MAX = 64
const ADDRESSES_MAX = 16
const ADDRESS_CHARS_MAX = 200

const helloSchema = z.object({
  version: z.int().positive(),
  role: z.enum(['peer', 'client']),
  name: z.string().max(NAME_CHARS_MAX),
  meshId: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .transform(asMeshId)
    .optional(),
  addresses: z.array(z.string().max(ADDRESS_CHARS_MAX)).max(ADDRESSES_MAX),
})

export function encodeHello(hello: Hello): Uint8Array {
  return pack({ ...hello, addresses: hello.addresses.slice(0, ADDRESSES_MAX) })
}

/** @throws BAD_MESSAGE */
export function decodeHello(payload: Uint8Array): Hello {
  let value: unknown
  try {
    value = unpack(payload)
  } catch {
    value = undefined
  }
  const parsed = helloSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const reason = z.prettifyError(parsed.error).slice(0, 500)
  throw new ShoalError('BAD_MESSAGE', { type: 'hello', reason }, `the remote's hello is malformed: ${reason}`)
}

/** Generations of one mesh differ in the last digits of their ids only. */
const LINEAGE_CHARS = 24

/** The id of the next generation of a mesh: another id, of which everybody can see whence it comes. */
export function nextGeneration(mesh: MeshId): MeshId {
  const drawn = randomBytes((mesh.length - LINEAGE_CHARS) / 2).toString('hex')
  return asMeshId(mesh.slice(0, LINEAGE_CHARS) + drawn)
}

export function isSameLineage(a: MeshId, b: MeshId): boolean {
  return a.slice(0, LINEAGE_CHARS) === b.slice(0, LINEAGE_CHARS)
}

/** @throws MESH_MISMATCH when both know their mesh and it is not the same. */
export function checkMesh(mine: MeshId | undefined, theirs: MeshId | undefined): void {
  if (mine === undefined || theirs === undefined || mine === theirs) return
  if (isSameLineage(mine, theirs)) {
    throw new ShoalError(
      'MESH_MISMATCH',
      { mine, theirs },
      `the other end is of generation ${theirs} of this mesh, not of ${mine}: one of the two was recovered by \`shoal recover --unsafe\`. ` +
        'Stop the peer of the generation before and bring it over, with its blocks: `shoal recover --rejoin MESH_ID DIRECTORY`.',
    )
  }
  throw new ShoalError(
    'MESH_MISMATCH',
    { mine, theirs },
    `the other end is of mesh ${theirs}, not of ${mine}: give each mesh its own secret and addresses`,
  )
}
