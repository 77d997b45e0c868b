import { Command, type Command as CommandType } from 'commander'
import { careCommands } from './fs/care.ts'
import { changeCommands } from './fs/changes.ts'
import { healthCommands } from './fs/health.ts'
import { listingCommands } from './fs/listings.ts'
import { readingCommands } from './fs/readers.ts'
import { transferCommands } from './fs/transfers.ts'

/** `shoal fs …`: the files of the mesh, by the names that HDFS gave its commands. */
export function fsCommand(): CommandType {
  const fs = new Command('fs').description(
    'Files of the mesh: put, get, cat, ls and more, by the names that HDFS gave them.',
  )
  const all = [
    ...transferCommands(),
    ...readingCommands(),
    ...listingCommands(),
    ...changeCommands(),
    ...careCommands(),
    ...healthCommands(),
  ]
  for (const command of all) fs.addCommand(command)
  return fs.addHelpText(
    'after',
    '\nPaths in the mesh begin with / and may hold *, ?, [a-c] and {a,b}; quote them, so that the shell leaves them alone.' +
      '\n\nExample:\n  $ shoal fs put moby-dick.txt /books/moby-dick.txt --parents\n  $ shoal fs ls -R /',
  )
}
