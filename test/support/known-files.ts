import { createHash } from 'node:crypto'
import { below, type Random } from '../../src/base/index.ts'
import type { Mesh } from '../../src/node/index.ts'
import { gatherBytes } from './file-bytes.ts'

const PIECE_BYTES = 64 * 1024

/** Files that were acknowledged, and what they have to read as. */
export class KnownFiles {
  readonly #hashes = new Map<string, string>()
  readonly #random: Random

  constructor(random: Random) {
    this.#random = random
  }

  get paths(): string[] {
    return [...this.#hashes.keys()]
  }

  /** @param sizeBytes of bytes by chance. Known from when it is acknowledged. */
  async put(
    mesh: Mesh,
    path: string,
    sizeBytes: number,
    options: { partitionBytes?: number; pause?: () => Promise<void> } = {},
  ): Promise<void> {
    const { pause, ...rest } = options
    const bytes = this.#bytes(sizeBytes)
    await mesh.fs.put(path, inPieces(bytes, pause), { format: 'binary', parents: true, ...rest })
    this.#hashes.set(path, hashOf(bytes))
  }

  /** True when the file reads as it was written. */
  async isWhole(mesh: Mesh, path: string): Promise<boolean> {
    return hashOf(await gatherBytes(mesh.fs.get(path))) === this.#hashes.get(path)
  }

  /** @throws when one cannot be read, or reads as something else. */
  async check(mesh: Mesh, paths: readonly string[] = this.paths): Promise<void> {
    for (const path of paths) {
      if (!(await this.isWhole(mesh, path))) throw new Error(`${path} reads as what was never written`)
    }
  }

  /** One word by chance after another: as good as any for being different from each other. */
  #bytes(sizeBytes: number): Buffer {
    const bytes = Buffer.alloc(sizeBytes + 4)
    for (let at = 0; at < sizeBytes; at += 4) bytes.writeUInt32LE(below(this.#random, 2 ** 32), at)
    return bytes.subarray(0, sizeBytes)
  }
}

async function* inPieces(bytes: Buffer, pause?: () => Promise<void>): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    yield bytes.subarray(at, at + PIECE_BYTES)
    await pause?.()
  }
}

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
