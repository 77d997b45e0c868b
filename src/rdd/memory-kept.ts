import { framedChunks } from './engine/kept-rows.ts'
import type { KeptReport } from './job-runner.ts'
import { MemorySpill } from './memory-spill.ts'
import type { KeptContent, KeptKey, KeptPorts, SpillFile } from './task.ts'

/** Kept partitions of a runner of one process: all of them, until they are forgotten. */
export class MemoryKept implements KeptPorts {
  /** Bytes there is room for, by place: a test may lower it. */
  readonly bytesMax = { memory: Infinity, disk: Infinity }
  readonly #partitions = new Map<string, KeptContent>()
  readonly #files = new Map<string, Uint8Array>()
  readonly #spill = new MemorySpill()
  readonly #granted = { memory: new Map<string, number>(), disk: new Map<string, number>() }

  read(key: KeptKey): Iterable<Uint8Array> | undefined {
    const content = this.#partitions.get(keyOf(key))
    if (content === undefined) return undefined
    return 'chunks' in content ? content.chunks : this.readFile(content)
  }

  async room(place: 'memory' | 'disk', key: KeptKey, bytes: number): Promise<boolean> {
    const granted = this.#granted[place]
    const before = bytes === 0 ? 0 : (granted.get(keyOf(key)) ?? 0)
    granted.set(keyOf(key), before)
    const used = granted.values().reduce((sum, value) => sum + value, 0)
    if (used + bytes > this.bytesMax[place]) return false
    granted.set(keyOf(key), before + bytes)
    return true
  }

  keep(content: KeptContent): void {
    if ('file' in content) this.#files.set(content.file, this.#spill.takeSealed(content.file))
    this.#partitions.set(keyOf(content), content)
  }

  openFile(): SpillFile {
    return this.#spill.open()
  }

  readFile({ file, fileBytes }: { file: string; fileBytes: number }): Iterable<Uint8Array> {
    return framedChunks((start, end) => this.#files.get(file)!.slice(start, end), fileBytes)
  }

  forget(fingerprints: readonly string[]): void {
    for (const [key, content] of this.#partitions) {
      if (!fingerprints.includes(content.fingerprint)) continue
      this.#partitions.delete(key)
      this.#granted.memory.delete(key)
      this.#granted.disk.delete(key)
      if ('file' in content) this.#files.delete(content.file)
    }
  }

  report(fingerprint: string): KeptReport | undefined {
    const mine = this.#partitions
      .values()
      .filter(content => content.fingerprint === fingerprint)
      .toArray()
    if (mine.length === 0) return undefined
    let [memoryBytes, diskBytes] = [0, 0]
    for (const content of mine) {
      if ('chunks' in content) memoryBytes += content.sizeBytes
      else diskBytes += content.fileBytes
    }
    return { fingerprint, partitions: mine.length, copies: mine.length, memoryBytes, diskBytes }
  }
}

function keyOf({ fingerprint, partition }: KeptKey): string {
  return `${fingerprint}/${partition}`
}
