import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { ShoalError } from '../base/index.ts'
import { MESH_KEY_FILE, readMeshKey } from './net/index.ts'
import { lockHolder } from './process-lock.ts'

/** Where a local mesh keeps everything, below the folder it was started in. */
export const MESH_DIRECTORY = '.shoal'

const peerRecord = z.object({
  name: z.string(),
  pid: z.int().positive(),
  addresses: z.array(z.string()).min(1),
  /** Its data directory. */
  directory: z.string(),
})
export type LocalPeer = z.infer<typeof peerRecord>

/**
 * The directory of a local mesh, `.shoal`: the secret (`mesh.key`), one file for each running peer (`run/NAME.json`), and
 * the peers' data (`peers/NAME`). A peer writes its own file when it serves and removes it when it stops.
 */
export class MeshDirectory {
  readonly path: string

  constructor(path: string) {
    this.path = resolve(path)
  }

  /** The nearest `.shoal`, here or above. */
  static find(from = process.cwd()): MeshDirectory | undefined {
    for (let folder = resolve(from); ; folder = dirname(folder)) {
      const path = join(folder, MESH_DIRECTORY)
      if (existsSync(path)) return new MeshDirectory(path)
      if (dirname(folder) === folder) return undefined
    }
  }

  dataDirectory(name: string): string {
    return join(this.path, 'peers', name)
  }

  logFile(name: string): string {
    return join(this.path, 'log', `${name}.log`)
  }

  get keyFile(): string {
    return join(this.path, MESH_KEY_FILE)
  }

  /** @throws NOT_A_MESH */
  async meshKey(): Promise<Uint8Array> {
    try {
      return await readMeshKey(this.path)
    } catch (error) {
      throw new ShoalError(
        'NOT_A_MESH',
        { directory: this.path },
        `${this.path} holds no mesh: start one with \`shoal up\``,
        { cause: error },
      )
    }
  }

  async register(peer: LocalPeer): Promise<void> {
    const folder = join(this.path, 'run')
    await mkdir(folder, { recursive: true, mode: 0o700 })
    const path = join(folder, `${peer.name}.json`)
    await writeFile(`${path}.new`, `${JSON.stringify(peer, undefined, 2)}\n`, { mode: 0o600 })
    await rename(`${path}.new`, path)
  }

  async unregister(name: string): Promise<void> {
    await rm(join(this.path, 'run', `${name}.json`), { force: true })
  }

  /** Names of all peers that have data here, running or not; `p2` before `p10`. */
  async names(): Promise<string[]> {
    const names = await readdir(join(this.path, 'peers')).catch(() => [] as string[])
    return names.sort(new Intl.Collator('en', { numeric: true }).compare)
  }

  /** Peers that say they serve; a killed one is left out (its process is gone). By name. */
  async peers(): Promise<LocalPeer[]> {
    const folder = join(this.path, 'run')
    const names = await readdir(folder).catch(() => [] as string[])
    const found: LocalPeer[] = []
    for (const name of names.filter(file => file.endsWith('.json')).sort()) {
      const text = await readFile(join(folder, name), 'utf8').catch(() => '')
      const parsed = peerRecord.safeParse(parseJson(text))
      if (!parsed.success) continue
      // A pid alone may be another process's by now.
      if ((await lockHolder(parsed.data.directory))?.pid === parsed.data.pid) found.push(parsed.data)
    }
    return found
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
