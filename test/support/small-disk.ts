import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

/** A file system of so many bytes at a path: really full when it is. Needs root. */
export class SmallDisk implements Disposable {
  readonly path: string
  /** Also when the tests are interrupted: nothing stays mounted. */
  readonly #unmountNow = (): void => this[Symbol.dispose]()

  private constructor(path: string) {
    this.path = path
    process.once('exit', this.#unmountNow)
  }

  static arePossible(): boolean {
    return process.platform === 'linux' && process.getuid?.() === 0
  }

  /** @param path not there yet. */
  static mount(path: string, sizeBytes: number): SmallDisk {
    mkdirSync(path)
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'shoal-test', path])
    return new SmallDisk(path)
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#unmountNow)
    try {
      // Lazily: a process that was just killed may still have it open.
      execFileSync('umount', ['--lazy', this.path], { stdio: 'ignore' })
    } catch {
      // Unmounted already.
    }
  }
}
