import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** A folder with packages installed in it, and programs that import them; removed when disposed of. */
export class PackageFolder implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'shoal-packages-'))

  get url(): string {
    return pathToFileURL(this.directory).href
  }

  /** @param files by their path in the package; package.json is made from `manifest` */
  install(name: string, manifest: object, files: Readonly<Record<string, string>>): void {
    const root = join('node_modules', name)
    this.write(join(root, 'package.json'), JSON.stringify({ name, version: '1.0.0', ...manifest }))
    for (const [path, text] of Object.entries(files)) this.write(join(root, path), text)
  }

  write(path: string, text: string): string {
    const file = join(this.directory, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    return file
  }

  /** What a program in the folder exports. */
  async program<T>(path: string, text: string): Promise<T> {
    return (await import(pathToFileURL(this.write(path, text)).href)) as T
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true })
  }
}
