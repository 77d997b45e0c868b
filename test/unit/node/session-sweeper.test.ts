import { expect, test } from 'vitest'
import { silentLogger } from '../../../src/base/index.ts'
import { SESSION_FILES } from '../../../src/node/config.ts'
import { SessionSweeper } from '../../../src/node/session-sweeper.ts'

function sweeperOf(folders: Set<string>, known: Set<string>, leads: () => boolean): SessionSweeper {
  return new SessionSweeper({
    files: {
      ls: async path => [...folders].map(name => ({ name, path: `${path}/${name}` })),
      rm: async path => folders.delete(path.slice(SESSION_FILES.folder.length + 1)),
    },
    knows: session => (leads() ? known.has(session) : undefined),
    log: silentLogger,
  })
}

test('the folder of a session that nobody knows goes after some looks, others stay', async () => {
  const folders = new Set(['alive', 'dead'])
  const sweeper = sweeperOf(folders, new Set(['alive']), () => true)
  for (let i = 1; i < SESSION_FILES.sweepsMin; i++) await sweeper.sweep()
  expect([...folders]).toEqual(['alive', 'dead'])
  await sweeper.sweep()
  expect([...folders]).toEqual(['alive'])
})

test('looks count from the term in which this peer leads, and from when the session was last known', async () => {
  const folders = new Set(['slow'])
  const known = new Set<string>()
  let leads = true
  const sweeper = sweeperOf(folders, known, () => leads)
  for (let i = 1; i < SESSION_FILES.sweepsMin; i++) await sweeper.sweep()
  leads = false
  await sweeper.sweep()
  leads = true
  for (let i = 1; i < SESSION_FILES.sweepsMin; i++) await sweeper.sweep()
  known.add('slow')
  await sweeper.sweep()
  known.delete('slow')
  for (let i = 1; i < SESSION_FILES.sweepsMin; i++) await sweeper.sweep()
  expect([...folders]).toEqual(['slow'])
  await sweeper.sweep()
  expect([...folders]).toEqual([])
})
