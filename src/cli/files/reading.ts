import type { FileEntry } from '../../dht/index.ts'
import type { Mesh } from '../../node/index.ts'
import { ShoalError } from '../../base/errors.ts'
import { attached } from '../attached.ts'
import type { Settings } from '../settings.ts'
import { note, printBytes } from '../terminal.ts'
import { consistency, expandAll } from './paths.ts'

/** `shoal fs cat` and `text`: whole files, one behind the other; `-` is standard input. */
export async function printFiles(
  paths: readonly string[],
  options: { unpack: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const reading = { signal, ...consistency(settings) }
    for (const given of paths) {
      if (given === '-') {
        for await (const chunk of process.stdin) await printBytes(chunk as Uint8Array)
        continue
      }
      for (const { path } of await expandAll(mesh, [given], signal, settings)) {
        const source = options.unpack ? mesh.fs.text(path, reading) : mesh.fs.get(path, reading)
        for await (const chunk of source) await printBytes(chunk)
      }
    }
  })
}

export interface EndOptions {
  lines?: number
  bytes?: number
  follow?: boolean
}

const LINES_DEFAULT = 10

/** `shoal fs head` and `tail`. Several files are told apart by their names, as the commands of Unix do. */
export async function printEnds(
  end: 'head' | 'tail',
  paths: readonly string[],
  options: EndOptions,
  settings: Settings,
): Promise<void> {
  if (options.lines !== undefined && options.bytes !== undefined)
    throw new ShoalError(
      'CONFIG_INVALID',
      { option: '--bytes', reason: 'it excludes --lines' },
      '--bytes: it excludes --lines; give one of them',
    )
  await attached(settings, async (mesh, signal) => {
    const entries = await expandAll(mesh, paths, signal, settings)
    if (options.follow === true && entries.length > 1)
      throw new ShoalError(
        'CONFIG_INVALID',
        { option: '--follow', reason: 'it takes one file' },
        `--follow: it takes one file, not ${entries.length}`,
      )
    for (const [index, entry] of entries.entries()) {
      if (entries.length > 1) await printBytes(Buffer.from(`${index > 0 ? '\n' : ''}==> ${entry.path} <==\n`))
      if (options.follow === true) await followEnd(mesh, entry, options, signal)
      else await printEnd(end, mesh, entry, options, { signal, ...consistency(settings) })
    }
  })
}

async function printEnd(
  end: 'head' | 'tail',
  mesh: Mesh,
  { path }: FileEntry,
  { lines = LINES_DEFAULT, bytes }: EndOptions,
  reading: { signal: AbortSignal; consistency?: 'stale' },
): Promise<void> {
  if (bytes === undefined) await printBytes(await mesh.fs[end](path, lines, reading))
  else if (bytes > 0 || end === 'head') {
    const range = end === 'head' ? { end: bytes } : { start: -bytes }
    for await (const chunk of mesh.fs.get(path, { ...reading, ...range })) await printBytes(chunk)
  }
}

/** Until Ctrl-C, which is how one ends it: no failure. */
async function followEnd(
  mesh: Mesh,
  { path, sizeBytes, fileId }: FileEntry,
  { lines = LINES_DEFAULT, bytes }: EndOptions,
  signal: AbortSignal,
): Promise<void> {
  try {
    const shown = bytes ?? (await mesh.fs.tail(path, lines, { signal })).length
    // Pinned: what comes between this look and the next is shown too.
    const start = Math.max(0, sizeBytes - shown)
    const version = fileId === undefined ? {} : { fileId }
    for await (const event of mesh.fs.follow(path, { start, ...version, signal })) {
      if (event.type === 'bytes') await printBytes(event.bytes)
      else if (event.type === 'replaced') note(`shoal: ${path} was replaced: following the new file`)
      else note(`shoal: ${path} is gone: waiting for another file of that name`)
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
