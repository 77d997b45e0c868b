import type { FileId, PeerId } from '../base/index.ts'
import type { FileFormat } from './namespace-types.ts'
import type { Trash } from './trash.ts'

/**
 * A snapshot of the namespace is a list of parts, each small enough to be read in one go: whoever reads them does other
 * things in between. In this order: the head, directories, what is in them, open writes.
 */
export type NamespacePart =
  | NamespaceHead
  | { kind: 'directories'; rows: DirectoryRow[] }
  | EntriesPart
  | { kind: 'writes'; rows: WriteRow[] }

export interface NamespaceHead {
  kind: 'head'
  peers: PeerId[]
  /** Sets of holders, as positions in `peers`. */
  groups: number[][]
  shapes: [format: FileFormat, replication: number, partitionBytes: number][]
  /** As JSON. */
  attributes: string[]
  lastSeq: number
  trash: ReturnType<Trash['snapshot']>
}

/** Some entries of one directory: as they are, or as one of its versions shows them. */
export interface EntriesPart {
  kind: 'entries'
  /** Its position among all rows of directories; the root is the first, those that only snapshots show are last. */
  directory: number
  /** Position of the version; `NONE` for what is there now. */
  version: number
  /** Of a version: a directory may have had another name then. */
  names: string[]
  rows: (EntryRow | null)[]
  /** 16 bytes for each file, in the order of the rows. */
  fileIds: Uint8Array
  /** 32 bytes for each block of the files, in the order of the rows. */
  hashes: Uint8Array
}

/** Stands for "none" in rows: msgpack has no undefined. */
export const NONE = -1
export const FILE_ID_BYTES = 16
export const HASH_BYTES = 32
/** In a file's row before its blocks. */
export const FILE_VALUES = 4
export const BLOCK_VALUES = 4

/** Four values for each block, flat, so that a file of one block costs no more than it must. */
export type BlockRow = [writeId: string, sizeBytes: number, group: number, linesAndEnd: number]
export type FileRow = [
  name: string,
  modifiedMs: number,
  shape: number,
  attributes: number,
  ...blocks: (string | number)[],
]
/** A directory by its number, or a file. In versions null: the name meant nothing. */
export type EntryRow = number | FileRow
export type DirectoryRow = [
  name: string,
  modifiedMs: number,
  attributes: number,
  savedSeq: number,
  rest: DirectoryRest | null,
]
export interface DirectoryRest {
  winner: string | null
  quota: [names: number, bytes: number] | null
  snapshots: [seq: number, name: string, createdMs: number][]
  pins: number[]
  versions: [needed: number[], modifiedMs: number, attributes: number][]
}
export type WriteRow = [
  fileId: FileId,
  path: string,
  token: string,
  append: boolean,
  expiresAtMs: number,
  lease: number,
  overwrite: boolean,
  parents: boolean,
  shape: number,
  indices: number[],
  hashes: Uint8Array,
  blocks: (string | number)[],
]
