import { attached } from '../attached.ts'
import type { Settings } from '../settings.ts'
import { print, printJson } from '../terminal.ts'
import { counted, humanBytes } from '../units.ts'
import { advised } from './advice.ts'

/** `shoal fs mkdir`. */
export async function makeDirectory(path: string, parents: boolean, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const making = mesh.fs.mkdir(path, { parents, signal })
    const { created } = await advised(
      making,
      parents ? {} : { NOT_FOUND: 'make missing directories with --parents' },
    )
    if (settings.json) printJson({ path, created })
  })
}

/** `shoal fs mv`. */
export async function move(from: string, to: string, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const { path } = await mesh.fs.mv(from, to, { signal })
    if (settings.json) printJson({ from, path })
    else print(`${from} is ${path} now`)
  })
}

/** `shoal fs rm`. */
export async function remove(path: string, recursive: boolean, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const removing = mesh.fs.rm(path, { recursive, signal })
    const { files, directories, sizeBytes } = await advised(removing, {
      DIRECTORY_NOT_EMPTY: 'with --recursive, all in it goes too',
    })
    if (settings.json) printJson({ path, files, directories, sizeBytes })
    else if (directories > 0) {
      const folders = directories === 1 ? '1 directory' : `${directories} directories`
      print(`removed ${folders} with ${counted(files, 'file')}, ${humanBytes(sizeBytes)}`)
    } else print(`removed ${path}, ${humanBytes(sizeBytes)}`)
  })
}
