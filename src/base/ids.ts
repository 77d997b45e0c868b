/**
 * Names of things. All are strings on the wire; the brands keep one kind from being passed as another.
 */

declare const brand: unique symbol
type Branded<Name extends string> = string & { readonly [brand]: Name }

/** A peer or a client: the libp2p peer id of its key, in base58 ("12D3KooW…"). */
export type PeerId = Branded<'PeerId'>
/** One mesh, created once at genesis: 32 hexadecimal digits. */
export type MeshId = Branded<'MeshId'>
/** A file's version: 32 hexadecimal digits, new for each put. */
export type FileId = Branded<'FileId'>
/** One stored partition of a file: `<fileId>-<index>-<writeId>`. */
export type BlockId = Branded<'BlockId'>

export const asPeerId = (text: string): PeerId => text as PeerId
export const asMeshId = (text: string): MeshId => text as MeshId
export const asFileId = (text: string): FileId => text as FileId
export const asBlockId = (text: string): BlockId => text as BlockId

/** The last six characters, which differ between peers, for people to read. */
export function shortPeer(peer: PeerId | string): string {
  return peer.slice(-6)
}
