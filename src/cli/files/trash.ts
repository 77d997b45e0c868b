import { attached } from '../attached.ts'
import type { Settings } from '../settings.ts'
import { table } from '../table.ts'
import { print, printJson } from '../terminal.ts'
import { counted, humanBytes, humanTime } from '../units.ts'

/** `shoal fs trash`: what was removed and can come back. */
export async function showTrash(settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const entries = await mesh.fs.trash({ signal })
    if (settings.json) printJson(entries)
    else if (entries.length === 0) print('the trash is empty')
    else {
      const rows = entries.map(({ deletedMs, files, sizeBytes, path }) => [
        humanTime(deletedMs),
        String(files),
        humanBytes(sizeBytes),
        path,
      ])
      const right = { align: 'right' } as const
      print(
        table(
          [
            { title: 'REMOVED' },
            { title: 'FILES', ...right },
            { title: 'SIZE', ...right },
            { title: 'PATH' },
          ],
          rows,
        ),
      )
    }
  })
}

/** `shoal fs undelete`. */
export async function undelete(path: string, options: { to?: string }, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const back = await mesh.fs.undelete(path, {
      signal,
      ...(options.to !== undefined && { to: options.to }),
    })
    if (settings.json) printJson(back)
    else print(`${back.path} is back`)
  })
}

/** `shoal fs expunge`: for good. */
export async function expunge(options: { olderThan?: number }, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const gone = await mesh.fs.expunge({ signal, ageMs: (options.olderThan ?? 0) * 60_000 })
    if (settings.json) printJson(gone)
    else print(`${counted(gone.entries, 'removal')} with ${counted(gone.files, 'file')} gone for good`)
  })
}
