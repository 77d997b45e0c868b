import { join } from 'node:path'
import { MESH_DIRECTORY, MeshDirectory } from '../node/index.ts'
import { runningPeers, stopPeers } from './local-peers.ts'
import type { Settings } from './settings.ts'
import { StatusLine } from './status-line.ts'
import { print, printJson } from './terminal.ts'
import { counted } from './units.ts'

/** Stops the peers of the local mesh. That none runs is no failure. */
export async function down(options: { dir?: string }, settings: Settings): Promise<void> {
  const { dir } = options
  const directory = dir === undefined ? MeshDirectory.find() : new MeshDirectory(join(dir, MESH_DIRECTORY))
  const peers = directory === undefined ? [] : await runningPeers(directory)
  if (directory === undefined || peers.length === 0) {
    if (settings.json) printJson({ stopped: [], killed: [] })
    else print('no peer runs here')
    return
  }
  using line = new StatusLine()
  const killed = await stopPeers(directory, peers, {
    wait: settings.wait,
    onStopped: left => line.show(`stopping ${counted(left, 'peer')} …`),
  })
  line[Symbol.dispose]()
  const names = peers.map(({ name }) => name)
  if (settings.json) {
    printJson({ stopped: names, killed })
    return
  }
  const how = settings.wait ? 'stopped' : 'asked to stop'
  print(`${counted(names.length, 'peer')} ${how}: ${names.join(', ')}. The data stays in ${directory.path}.`)
  if (killed.length > 0) print(`${killed.join(', ')} did not stop in time and had to be killed.`)
}
