import { basename, posix } from 'node:path'
import { hasCode } from '../../base/errors.ts'
import type { ClientPutOptions } from '../../dht/index.ts'
import type { Mesh } from '../../node/index.ts'
import { attached } from '../attached.ts'
import { measured } from '../byte-progress.ts'
import type { Settings } from '../settings.ts'
import { note, print, printBytes, printJson } from '../terminal.ts'
import { counted, humanBytes, humanMs } from '../units.ts'
import { advised } from './advice.ts'
import { readLocal, targetIn, writeLocal } from './local-file.ts'

type PutOptions = Pick<
  ClientPutOptions,
  'overwrite' | 'parents' | 'partitionBytes' | 'format' | 'replication'
>

/** `shoal fs put`. @throws LOCAL_FILE when the local file cannot be read: nothing becomes visible then. */
export async function putFile(
  local: string,
  path: string,
  options: PutOptions,
  settings: Settings,
): Promise<void> {
  const { source, sizeBytes } = await readLocal(local)
  await attached(settings, async (mesh, signal) => {
    const startedMs = performance.now()
    const name = local === '-' ? 'standard input' : basename(local)
    const target = await targetPath(mesh, path, local, signal)
    const failure: { error?: unknown } = {}
    const bytes = watched(source, failure)
    const shown = measured(bytes, {
      label: name,
      ...(sizeBytes === undefined ? {} : { totalBytes: sizeBytes }),
    })
    const { overwrite, parents, partitionBytes, format, replication } = options
    const given = { overwrite, parents, partitionBytes, format, replication }
    const set = Object.fromEntries(
      Object.entries(given).filter(([, value]) => value !== undefined),
    ) as PutOptions
    const storing = mesh.fs.put(target, shown, { ...set, signal }).catch((error: unknown) => {
      // The mesh only learns that the bytes stopped; why is known here.
      throw failure.error ?? error
    })
    const stored = await advised(storing, {
      ...(overwrite !== true && { ALREADY_EXISTS: 'replace it with --overwrite' }),
      ...(parents !== true && { NOT_FOUND: 'make missing directories with --parents' }),
    })
    if (settings.json) {
      printJson({ path: target, ...stored })
      return
    }
    const tookMs = performance.now() - startedMs
    print(
      `${target}: ${humanBytes(stored.bytes)} in ${counted(stored.partitions, 'partition')}, ${humanMs(tookMs)}`,
    )
    if (stored.degraded !== undefined && stored.degraded > 0) {
      note(
        `${counted(stored.degraded, 'partition')} with fewer copies than wanted for now: too few peers answered`,
      )
    }
  })
}

async function* watched(
  source: AsyncIterable<Uint8Array>,
  failure: { error?: unknown },
): AsyncGenerator<Uint8Array, void> {
  try {
    yield* source
  } catch (error) {
    failure.error = error
    throw error
  }
}

/** Into a directory that is there, under the local name, as `cp` and HDFS do. */
async function targetPath(mesh: Mesh, path: string, local: string, signal: AbortSignal): Promise<string> {
  if (local === '-') return path
  const isDirectory = await mesh.fs.stat(path, { signal }).then(
    ({ type }) => type === 'directory',
    (error: unknown) => {
      if (hasCode(error, 'NOT_FOUND')) return path.endsWith('/')
      throw error
    },
  )
  return isDirectory ? posix.join(path, basename(local)) : path
}

/** `shoal fs get`. The local file appears whole or not at all. */
export async function getFile(
  path: string,
  local: string | undefined,
  options: { overwrite?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    if (local === '-') {
      for await (const chunk of mesh.fs.get(path, { signal, ...consistency(settings) }))
        await printBytes(chunk)
      return
    }
    const { name, sizeBytes } = await mesh.fs.stat(path, { signal, ...consistency(settings) })
    const target = await targetIn(local ?? '.', name)
    const source = mesh.fs.get(path, { signal, ...consistency(settings) })
    const startedMs = performance.now()
    const bytes = await writeLocal(target, measured(source, { label: name, totalBytes: sizeBytes }), {
      overwrite: options.overwrite === true,
    })
    if (settings.json) printJson({ path, local: target, bytes })
    else print(`${target}: ${humanBytes(bytes)}, ${humanMs(performance.now() - startedMs)}`)
  })
}

/** `shoal fs cat`. */
export async function catFiles(paths: readonly string[], settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    for (const path of paths) {
      for await (const chunk of mesh.fs.get(path, { signal, ...consistency(settings) }))
        await printBytes(chunk)
    }
  })
}

/** `shoal fs head` and `tail`. */
export async function printEnd(
  end: 'head' | 'tail',
  path: string,
  lines: number,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    await printBytes(await mesh.fs[end](path, lines, { signal, ...consistency(settings) }))
  })
}

/** Without waiting, a read answers what the attached peer has. */
export function consistency({ wait }: Settings): { consistency?: 'stale' } {
  return wait ? {} : { consistency: 'stale' }
}
