import { mkdir, readdir, readFile, rename } from 'node:fs/promises'
import path from 'node:path'
import { crc32 } from 'node:zlib'
import { z } from 'zod'
import { pack, unpack } from '../base/index.ts'
import { replaceFile, syncDirectory } from './durable-file.ts'
import type { LogLife } from './raft-types.ts'

/** A log that was found damaged: what was wrong with it, and where its files are kept. */
export interface LogDamage {
  atMs: number
  reason: string
  /** Beside the new log. */
  folder: string
}

export interface LifeRecord extends LogLife {
  /** The last few, oldest first. */
  damages: LogDamage[]
  /** The files of the last damage are still being moved out of the way. */
  moving: boolean
}

const LIFE_FILE = 'life'
const SUM_BYTES = 4
const DAMAGES_MAX = 16
/** Everything that speaks of the lost log. `voters` stays: who voted is true all the same. */
const LOG_FILE = /^(?:hard|mark|log-\d{16}|snap-\d{16})$/

const lifeRecord = z.object({
  number: z.int().min(1),
  forgot: z.boolean(),
  damages: z.array(z.object({ atMs: z.number(), reason: z.string(), folder: z.string() })),
  moving: z.boolean(),
})

/** @returns undefined while the log was never lost. @throws the error of an unreadable file */
export async function readLife(directory: string): Promise<LifeRecord | undefined> {
  const bytes = await readSummed(path.join(directory, LIFE_FILE))
  return bytes === undefined ? undefined : lifeRecord.parse(unpack(bytes))
}

export async function writeLife(directory: string, record: LifeRecord): Promise<void> {
  await replaceFile(path.join(directory, LIFE_FILE), summed(pack(record)))
}

/**
 * Puts a damaged log aside, whole, and begins a new life without one, in which the peer has forgotten what it promised.
 * That comes first and is durable, so that no crash on the way lets it vote.
 */
export async function setAside(directory: string, reason: string, wallMs: number): Promise<LifeRecord> {
  const before = await readLife(directory).catch(() => undefined)
  const folder = `damaged-${new Date(wallMs).toISOString().replaceAll(':', '-')}`
  const damages = [...(before?.damages ?? []), { atMs: wallMs, reason, folder }].slice(-DAMAGES_MAX)
  // By the clock, because the record of the last life may be among what is lost; but never back.
  const number = Math.max((before?.number ?? 0) + 1, Math.floor(wallMs))
  const record = { number, forgot: true, damages, moving: true }
  await writeLife(directory, record)
  return await finishSettingAside(directory, record)
}

/** The rest of `setAside`, also after a crash in the middle of it. */
export async function finishSettingAside(directory: string, record: LifeRecord): Promise<LifeRecord> {
  const folder = path.join(directory, record.damages.at(-1)!.folder)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const name of await readdir(directory)) {
    if (LOG_FILE.test(name)) await rename(path.join(directory, name), path.join(folder, name))
  }
  await syncDirectory(folder)
  await syncDirectory(directory)
  const done = { ...record, moving: false }
  await writeLife(directory, done)
  return done
}

/** The parts of a file whose content is checked when it is read back. */
export function summed(body: Uint8Array): Uint8Array[] {
  const sum = Buffer.alloc(SUM_BYTES)
  sum.writeUInt32LE(crc32(body))
  return [sum, body]
}

/** What `summed` wrote; undefined when there is no such file. @throws when it is damaged */
export async function readSummed(file: string): Promise<Uint8Array | undefined> {
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  const body = bytes.subarray(SUM_BYTES)
  if (bytes.byteLength <= SUM_BYTES || bytes.readUInt32LE(0) !== crc32(body)) {
    throw new Error(`${file} is not as its checksum says`)
  }
  return body
}
