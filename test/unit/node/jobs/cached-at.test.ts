import { expect, test } from 'vitest'
import { CachedAt } from '../../../../src/node/jobs/cached-at.ts'

const change = (
  partition: number,
  memoryBytes: number,
  isGone = false,
  session = 's',
  fingerprint = 'f',
) => ({
  fingerprint,
  partition,
  session,
  memoryBytes,
  diskBytes: 0,
  isGone,
})

test('what peers say of a partition replaces what they said before', () => {
  const at = new CachedAt()
  at.describe('f', 'map')
  at.change('a', change(0, 10))
  at.change('a', change(0, 20))
  at.change('b', change(0, 20))
  at.change('b', change(1, 5))
  expect(at.peers('f', 0)).toEqual(['a', 'b'])
  expect(at.list()).toEqual([
    { fingerprint: 'f', session: 's', label: 'map', partitions: 2, copies: 3, memoryBytes: 45, diskBytes: 0 },
  ])
  at.change('a', change(0, 0, true))
  expect(at.peers('f', 0)).toEqual(['b'])
  expect(at.list(['f', 'unknown'])).toMatchObject([{ partitions: 2, copies: 2 }])
})

test('a peer, a session and an RDD go with all there is of them', () => {
  const at = new CachedAt()
  at.change('a', change(0, 1))
  at.change('b', change(0, 1))
  at.change('b', change(0, 1, false, 't', 'g'))
  at.dropPeer('a')
  expect(at.peers('f', 0)).toEqual(['b'])
  at.dropSession('t')
  expect(at.peers('g', 0)).toEqual([])
  at.dropFingerprint('f')
  expect(at.list()).toEqual([])
})
