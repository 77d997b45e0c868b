import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { asMeshId, ShoalError } from '../base/index.ts'
import type { MeshId } from '../base/index.ts'
import { isErrno, syncDirectory, textOf } from './net/secret-file.ts'
import { ProcessLock } from './process-lock.ts'

/** Which mesh a data directory belongs to: `mesh.json`. */
export interface MeshRecord {
  meshId: MeshId
  /** The peer's own name, for people. */
  name: string
  /** Rises with each start of the peer on this directory. */
  generation: number
  /** The founder has not made its log yet: a start that finds this founds that mesh. */
  founding?: boolean
  /** The mesh id before a majority was given up for lost. */
  recoveredFrom?: MeshId
}

const MESH_FILE = 'mesh.json'
const RECORD_VERSION = 1

const meshRecord = z.object({
  version: z.literal(RECORD_VERSION),
  meshId: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .transform(asMeshId),
  name: z.string().min(1).max(64),
  generation: z.int().nonnegative(),
  founding: z.boolean().optional(),
  recoveredFrom: z
    .string()
    .regex(/^[0-9a-f]{32}$/)
    .transform(asMeshId)
    .optional(),
})

/**
 * A peer's data directory, held exclusively until disposed of or the process ends:
 * `identity.key`, `mesh.key`, `mesh.json`, `meta/` (log and snapshots), `blocks/`, `output/` (of jobs), `events/` (what happened to
 * jobs that this peer led).
 */
export class DataDirectory implements AsyncDisposable {
  /** As it was given. */
  readonly path: string
  readonly metaPath: string
  readonly blocksPath: string
  readonly outputPath: string
  /** Made by who writes there. */
  readonly eventsPath: string
  readonly #lock: ProcessLock

  private constructor(path: string, lock: ProcessLock) {
    this.path = path
    this.metaPath = join(path, 'meta')
    this.blocksPath = join(path, 'blocks')
    this.outputPath = join(path, 'output')
    this.eventsPath = join(path, 'events')
    this.#lock = lock
  }

  /**
   * Opens it, creating what is missing.
   * @throws DATA_DIR_LOCKED when another process has it open, DATA_DIR_INVALID when it cannot be one.
   */
  static async open(path: string): Promise<DataDirectory> {
    let lock: ProcessLock | undefined
    try {
      await makeFolder(path)
      if (!(await stat(path)).isDirectory()) throw new Error('it is not a directory')
      lock = await ProcessLock.acquire(path)
      const directory = new DataDirectory(path, lock)
      for (const folder of [directory.metaPath, directory.blocksPath, directory.outputPath]) {
        await makeFolder(folder)
      }
      return directory
    } catch (error) {
      await lock?.[Symbol.asyncDispose]()
      if (error instanceof ShoalError) throw error
      throw invalid(path, textOf(error), error)
    }
  }

  /** @returns undefined before the peer belongs to a mesh. @throws DATA_DIR_INVALID when the file is damaged. */
  async readMesh(): Promise<MeshRecord | undefined> {
    return await readMeshRecord(this.path)
  }

  /** Durable when it returns, and never seen half-written. */
  async writeMesh(record: MeshRecord): Promise<void> {
    const path = join(this.path, MESH_FILE)
    const draft = `${path}.${randomBytes(6).toString('hex')}`
    try {
      const file = await open(draft, 'wx', 0o600)
      try {
        await file.writeFile(`${JSON.stringify({ version: RECORD_VERSION, ...record }, undefined, 2)}\n`)
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(draft, path)
      await syncDirectory(this.path)
    } catch (error) {
      throw invalid(this.path, `cannot write ${MESH_FILE}: ${textOf(error)}`, error)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lock[Symbol.asyncDispose]()
  }
}

/** The same of a directory that may be in use. @returns undefined before the peer belongs to a mesh. @throws DATA_DIR_INVALID when the file is damaged. */
export async function readMeshRecord(directory: string): Promise<MeshRecord | undefined> {
  let text: string
  try {
    text = await readFile(join(directory, MESH_FILE), 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined
    throw invalid(directory, `cannot read ${MESH_FILE}: ${textOf(error)}`, error)
  }
  const parsed = meshRecord.safeParse(parseJson(text))
  if (!parsed.success) {
    throw invalid(directory, `${MESH_FILE} is damaged: ${z.prettifyError(parsed.error)}`, parsed.error)
  }
  const { meshId, name, generation, founding, recoveredFrom } = parsed.data
  return {
    meshId,
    name,
    generation,
    ...(founding === true && { founding }),
    ...(recoveredFrom !== undefined && { recoveredFrom }),
  }
}

/** Not `mkdir` with `recursive`: that never returns where the parent is there but takes no folders, as in /proc. */
async function makeFolder(path: string): Promise<void> {
  if (await madeOrThere(path)) return
  await makeFolder(dirname(path))
  if (!(await madeOrThere(path))) throw new Error(`cannot make ${path}`)
}

/** False when the parent is missing. */
async function madeOrThere(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 })
    return true
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return true
    if (isErrno(error, 'ENOENT') && dirname(path) !== path) return false
    throw error
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function invalid(directory: string, reason: string, cause: unknown): ShoalError {
  return new ShoalError('DATA_DIR_INVALID', { directory, reason }, `data directory ${directory}: ${reason}`, {
    cause,
  })
}
