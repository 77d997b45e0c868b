import { hasCode, ShoalError } from '../../base/errors.ts'
import { attached } from '../attached.ts'
import type { Settings } from '../settings.ts'
import { print, printJson } from '../terminal.ts'
import { counted, humanBytes } from '../units.ts'
import { advised } from './advice.ts'
import { expandPaths } from './paths.ts'

/** `shoal fs mkdir`. */
export async function makeDirectories(
  paths: readonly string[],
  parents: boolean,
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const all = []
    for (const path of paths) {
      const making = mesh.fs.mkdir(path, { parents, signal })
      const { created } = await advised(
        making,
        parents ? {} : { NOT_FOUND: 'make missing directories with --parents' },
      )
      all.push({ path, created })
    }
    if (settings.json) printJson(oneOrAll(all))
  })
}

/** `shoal fs mv`. */
export async function move(from: readonly string[], to: string, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const sources = await expandPaths(mesh, from, signal, settings)
    if (sources.length > 1) {
      const { type } = await mesh.fs.stat(to, { signal })
      if (type !== 'directory')
        throw new ShoalError(
          'NOT_A_DIRECTORY',
          { path: to },
          `${to} is a file, and ${sources.length} entries go into a directory`,
        )
    }
    const all = []
    for (const source of sources) {
      const { path } = await mesh.fs.mv(source, to, { signal })
      all.push({ from: source, path })
      if (!settings.json) print(`${source} is ${path} now`)
    }
    if (settings.json) printJson(oneOrAll(all))
  })
}

/** `shoal fs rm`. */
export async function remove(
  patterns: readonly string[],
  options: { recursive?: boolean; force?: boolean; skipTrash?: boolean },
  settings: Settings,
): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const all = []
    for (const pattern of patterns) {
      try {
        for (const path of await expandPaths(mesh, [pattern], signal, settings)) {
          const removing = mesh.fs.rm(path, {
            recursive: options.recursive === true,
            skipTrash: options.skipTrash === true,
            signal,
          })
          const { files, directories, sizeBytes, trash } = await advised(removing, {
            DIRECTORY_NOT_EMPTY: 'with --recursive, all in it goes too',
          })
          all.push({ path, files, directories, sizeBytes, ...(trash !== undefined && { trash }) })
          if (settings.json) continue
          const kept = trash === undefined ? ' for good' : '; `shoal fs undelete` brings it back'
          if (directories > 0) {
            const folders = directories === 1 ? '1 directory' : `${directories} directories`
            print(`removed ${folders} with ${counted(files, 'file')}, ${humanBytes(sizeBytes)}${kept}`)
          } else print(`removed ${path}, ${humanBytes(sizeBytes)}${kept}`)
        }
      } catch (error) {
        if (options.force !== true || !hasCode(error, 'NOT_FOUND')) throw error
      }
    }
    if (settings.json) printJson(oneOrAll(all))
  })
}

/** One path has one answer, several have a list. */
function oneOrAll<T>(answers: readonly T[]): T | readonly T[] {
  return answers.length === 1 ? answers[0]! : answers
}
