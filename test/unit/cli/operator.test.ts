import { stripVTControlCharacters as plain } from 'node:util'
import { describe, expect, test } from 'vitest'
import {
  add,
  describeChecked,
  describeSums,
  noSums,
  verdictOf,
  type FsckOptions,
} from '../../../src/cli/files/fsck.ts'
import { count, describeBad, describeVerified, type VerifySums } from '../../../src/cli/files/verify.ts'
import { describePeers } from '../../../src/cli/mesh-report.ts'
import { describeReport, memberTable } from '../../../src/cli/mesh-status.ts'
import { asBlockId, asPeerId } from '../../../src/base/index.ts'
import type { CheckedBlock, CheckedFile, VerifiedBlock } from '../../../src/dht/index.ts'
import type { MeshReport, PeerStatus, PeerVitals } from '../../../src/node/index.ts'

type Member = PeerStatus['members'][number]

const MIB = 1024 ** 2

function member(number: number, given: Partial<Member> = {}): Member {
  return {
    peerId: `id-${number}`,
    name: `p${number}`,
    host: `host-${number}`,
    addresses: [`/ip4/10.0.0.${number}/tcp/4001/p2p/id-${number}`],
    state: 'up',
    liveness: 'alive',
    quarantined: false,
    draining: false,
    weight: 1,
    role: 'voter',
    ...given,
  }
}

function vitals(given: Partial<PeerVitals> = {}, store: Partial<PeerVitals['store']> = {}): PeerVitals {
  return {
    version: '1.2.3',
    pid: 7,
    upMs: 5_000,
    workers: 4,
    runningTasks: 3,
    cpuCores: 1.26,
    rssBytes: 150 * MIB,
    rssPeakBytes: 170 * MIB,
    memoryBytes: 512 * MIB,
    spilledBytes: 0,
    shuffles: { fetchedBytes: 0, wireBytes: 0 },
    kept: { partitions: 0, memoryBytes: 0, diskBytes: 0 },
    appliedIndex: 9,
    space: 'ok',
    forgot: false,
    damagedLogs: 0,
    slotsOwned: 12,
    store: {
      blocks: 2,
      usedBytes: 30 * MIB,
      freeBytes: 90 * MIB,
      corrupt: 0,
      missing: 0,
      found: 0,
      repaired: 0,
      scrubDue: 0,
      ...store,
    },
    ...given,
  }
}

const STATUS: PeerStatus = {
  peerId: 'id-1',
  name: 'p1',
  meshId: 'm',
  pid: 1,
  version: '1.2.3',
  upMs: 5_000,
  workers: 2,
  rssBytes: MIB,
  leader: 'id-2',
  term: 4,
  role: 'follower',
  voters: ['id-1', 'id-2', 'id-10'],
  votersTarget: 3,
  appliedIndex: 9,
  space: 'ok',
  forgot: false,
  damagedLogs: [],
  members: [member(10), member(1), member(2, { role: 'leader' })],
  files: {
    files: 1,
    directories: 0,
    blocks: 2,
    sizeBytes: 10,
    storedBytes: 30,
    underReplicated: 0,
    missing: 0,
    short: 0,
    slotsMoving: 0,
    slotsOwned: 5,
  },
}

const REPORT: MeshReport = {
  status: STATUS,
  peers: [1, 2, 10].map(number => ({ peerId: `id-${number}`, name: `p${number}`, vitals: vitals() })),
}

function withFiles(files: Partial<PeerStatus['files']>): MeshReport {
  return { ...REPORT, status: { ...STATUS, files: { ...STATUS.files, ...files } } }
}

function withMembers(...members: Member[]): MeshReport {
  return { ...REPORT, status: { ...STATUS, members } }
}

function withPeer(mine: PeerVitals | undefined): MeshReport {
  const [first, ...rest] = REPORT.peers
  const { peerId, name } = first!
  return { ...REPORT, peers: [{ peerId, name, ...(mine !== undefined && { vitals: mine }) }, ...rest] }
}

const shown = (report: MeshReport): string => plain(describeReport(report))

describe('shoal status', () => {
  test('of a healthy mesh: who leads, how many voters may be lost, peers in the order of their numbers with load and disk', () => {
    const text = shown(REPORT)
    expect(text).toMatch(/^p2 leads in term 4\n3 voters \(p1, p2, p10\): ready; 1 may be lost\n/)
    expect(text.match(/^p\d+(?= )/gm)).toEqual(['p2', 'p1', 'p2', 'p10'])
    expect(text).toMatch(
      /^p1 \* +voter +up +3\/4 +126 % +150 MiB +30\.0 MiB +90\.0 MiB +\/ip4\/10\.0\.0\.1\/tcp\/4001$/m,
    )
    expect(text).toMatch(/^copies: all there$/m)
    expect(text).toMatch(/^disks: 90\.0 MiB used by copies, 270 MiB free of 360 MiB$/m)
    expect(text).not.toContain('slots:')
  })

  test('without a leader says what that means, and how many voters have to come back', () => {
    const { leader: _, ...leaderless } = STATUS
    const members = [member(1), member(2, { liveness: 'dead' }), member(10, { liveness: 'suspect' })]
    const text = shown({ ...REPORT, status: { ...leaderless, members } })
    expect(text).toMatch(/^no leader \(term 4\): files and jobs wait/)
    expect(text).toContain('3 voters (p1, p2, p10): p2, p10 are not reachable; 1 voter must come back')
    expect(text).toMatch(/^p10 +voter +suspect /m)
  })

  test('a mesh that still adds voters is not called ready, and one that may lose none says so', () => {
    const growing = { ...STATUS, voters: ['id-1'], votersTarget: 3 }
    expect(shown({ ...REPORT, status: growing })).toContain(
      '1 voter (p1): 1 of 3 voters, more are being added; it may not be lost',
    )
    const text = shown(withMembers(member(1), member(2), member(10, { state: 'down', liveness: 'dead' })))
    expect(text).toContain('p10 is not reachable; no more may be lost')
  })

  test('counts what is missing, too few, in want of peers and corrupt each by itself', () => {
    const report = withFiles({ underReplicated: 3, missing: 1, short: 4, slotsMoving: 7 })
    const text = shown({ ...report, peers: withPeer(vitals({}, { corrupt: 1, missing: 2 })).peers })
    expect(text).toContain('1 partition with no living copy (shoal fs fsck / names them)')
    expect(text).toContain('2 partitions with too few copies, to be made again')
    expect(text).toContain('4 partitions in fewer copies than wanted, for want of living peers')
    expect(text).toContain('1 corrupt copy, being mended; 2 copies gone from disk, being made again')
    expect(text).toMatch(/^slots: 7 on the move$/m)
    expect(text).not.toContain('all there')
  })

  test('while not all answer, it does not promise that all copies are there', () => {
    expect(shown(withMembers(member(1), member(2), member(10, { liveness: 'suspect' })))).toContain(
      'none is known to be lost, but not all peers answer',
    )
    expect(shown(withPeer(undefined))).toContain('none is known to be lost, but not all peers answer')
  })

  test('states tell draining, quarantined, back, and gone for good', () => {
    const rows = plain(
      memberTable({
        peerId: 'id-9',
        members: [
          member(1, { draining: true }),
          member(2, { quarantined: true }),
          member(3, { state: 'down' }),
          member(4, { state: 'left', liveness: 'left' }),
          member(5, { draining: true, liveness: 'suspect' }),
          member(6, { state: 'down', liveness: 'dead' }),
        ],
      }),
    )
    const states = rows
      .split('\n')
      .slice(1)
      .map(row => /^p\d +(?:voter)? +(.*?) +\/ip4/.exec(row)?.[1])
    expect(states).toEqual(['draining', 'quarantined', 'down, back', 'left', 'suspect, draining', 'down'])
  })

  test.each<[string, PeerVitals | undefined, string]>([
    ['is read-only', vitals({ space: 'full' }), 'p1: its disk is full: it is read-only'],
    ['writes only metadata', vitals({ space: 'reserve' }), 'p1: its disk is full: it writes only metadata'],
    ['has little room', vitals({ space: 'low' }), 'p1: its disk is nearly full'],
    ['lost its log', vitals({ forgot: true }), 'p1: it lost its log, and has no vote'],
    [
      'had damaged logs',
      vitals({ damagedLogs: 2, damagedLog: { reason: 'bad CRC', folder: 'damaged-1' } }),
      'p1: a damaged log is kept in meta/damaged-1 (bad CRC), the newest of 2',
    ],
    [
      'has a failed disk',
      vitals({}, { failure: 'EIO' }),
      'p1: the disk of its copies failed and is given up: EIO',
    ],
    ['is silent', undefined, 'p1 did not say how it is'],
  ])('a peer that %s is named', (_, mine, text) => {
    expect(shown(withPeer(mine))).toContain(text)
  })
})

test('shoal report tells all of each peer, of dead ones what is known, and leaves out who left', () => {
  const report = withMembers(
    member(1, { zone: 'east', weight: 2 }),
    member(2, { state: 'down', liveness: 'dead', role: 'learner' }),
    member(3, { state: 'left', liveness: 'left' }),
  )
  const text = plain(
    describePeers({
      ...report,
      peers: [
        {
          peerId: 'id-1',
          name: 'p1',
          vitals: vitals({}, { corrupt: 1, found: 5, repaired: 4, scrubDue: 2, scrubOldestMs: 90_000_000 }),
        },
      ],
    }),
  )
  expect(text).toMatch(/^ {2}capacity +120 MiB\n {2}used +30\.0 MiB \(25\.0 %\) by 2 copies of partitions\n/m)
  const [, first = '', second = ''] = text.split(/^(?=p\d: )/m)
  expect(first).toMatch(/^p1: up, voter\n/)
  expect(first).toMatch(/host +host-1, zone east\n/)
  expect(first).toMatch(/slots +12, by weight 2\n/)
  expect(first).toMatch(/bad copies +1 corrupt, 0 gone; 5 found and 4 mended since its start\n/)
  expect(first).toMatch(/scrub +2 due; the oldest was verified 1 d 1 h ago\n/)
  expect(second).toMatch(/^p2: down, learner\n {2}host/)
  expect(second).not.toContain('capacity')
  expect(text).toMatch(/^left: p3$/m)
})

const WANTED = 3

function block(index: number, states: CheckedBlock['holders'][number]['state'][]): CheckedBlock {
  const holders = states.map((state, at) => ({ peer: asPeerId(`id-${at}`), name: `p${at + 1}`, state }))
  return { index, blockId: asBlockId(`b-${index}`), bytes: 1024, wanted: WANTED, holders }
}

function file(given: Partial<CheckedFile>): CheckedFile {
  const counts = { underReplicated: 0, missing: 0, short: 0, corrupt: 0 }
  return { path: '/f', sizeBytes: 2048, replication: WANTED, partitions: 2, ...counts, ...given }
}

describe('shoal fs fsck', () => {
  const tell = (checked: CheckedFile, options: FsckOptions = {}): string =>
    plain(describeChecked(checked, options).join('\n'))

  test('names the peers that a missing partition waits for, and nothing of partitions that are well', () => {
    const blocks = [block(0, ['good', 'good', 'good']), block(1, ['dead', 'dead'])]
    expect(tell(file({ missing: 1, blocks }))).toBe(
      '/f: 1 partition MISSING, 2.0 KiB in 2 partitions, ×3\n' +
        '  partition 1: 0 of 3 copies; p1, p2 are not here: it comes back with any of them',
    )
  })

  test('names who has a corrupt copy, who lost one, and who has the good ones when asked', () => {
    const blocks = [block(0, ['corrupt', 'good', 'missing'])]
    const bad = file({ partitions: 1, underReplicated: 1, corrupt: 1, blocks })
    expect(tell(bad)).toContain('  partition 0: 1 of 3 copies; corrupt at p1; gone from the disk of p3')
    expect(tell(bad, { locations: true })).toMatch(/; good at p2$/)
    expect(tell(bad, { blocks: true })).toMatch(/; 1\.0 KiB, block b-0$/)
  })

  test('shows partitions that are well when blocks are asked for', () => {
    const blocks = [block(0, ['good', 'good', 'good'])]
    expect(tell(file({ partitions: 1, blocks }), { blocks: true, locations: true })).toBe(
      '/f: healthy, 2.0 KiB in 1 partition, ×3\n' +
        '  partition 0: 3 of 3 copies; good at p1, p2, p3; 1.0 KiB, block b-0',
    )
  })

  test.each([
    ['healthy', {}],
    ['degraded', { underReplicated: 1 }],
    ['degraded', { short: 1 }],
    ['degraded', { corrupt: 1 }],
    ['damaged', { underReplicated: 5, missing: 1 }],
  ] as const)('the verdict is %s of %o', (verdict, found) => {
    const sums = noSums()
    add(sums, file({}))
    add(sums, file(found))
    expect(sums).toMatchObject({ files: 2, partitions: 4, sizeBytes: 4096, ...found })
    expect(verdictOf(sums)).toBe(verdict)
    expect(plain(describeSums('/', sums, []))).toMatch(new RegExp(`^/: ${verdict.toUpperCase()}: `))
  })

  test('says who was not heard', () => {
    expect(plain(describeSums('/', noSums(), ['p4']))).toContain(
      'p4 did not say which of their copies are bad',
    )
  })
})

describe('shoal fs verify', () => {
  const none: VerifySums = { files: 1, partitions: 0, good: 0, corrupt: 0, missing: 0, unknown: 0, mended: 0 }
  const replica = (
    at: number,
    found: VerifiedBlock['replicas'][number]['found'],
    now: VerifiedBlock['replicas'][number]['now'],
    reason?: string,
  ): VerifiedBlock['replicas'][number] => ({
    peer: asPeerId(`id-${at}`),
    name: `p${at}`,
    found,
    now,
    ...(reason !== undefined && { reason }),
  })

  test('names the corrupt copy, its peer, and what became of it', () => {
    const sums = { ...none }
    const replicas = [
      replica(1, 'good', 'good'),
      replica(2, 'corrupt', 'good'),
      replica(3, 'missing', 'reported'),
      replica(4, 'corrupt', 'bad'),
      replica(5, 'unknown', 'unknown', 'it is dead'),
    ]
    const bad = count(sums, '/f', { index: 3, blockId: asBlockId('b'), bytes: 10, replicas })
    expect(bad.map(each => plain(describeBad(each)))).toEqual([
      '/f, partition 3: the copy at p2 was CORRUPT; mended: it was fetched again from another holder',
      '/f, partition 3: the copy at p3 is GONE from its disk; put aside: repair makes another copy',
      '/f, partition 3: the copy at p4 is CORRUPT; kept, for no better copy could be had; it is tried again',
      '/f, partition 3: the copy at p5 could not be verified: it is dead',
    ])
    expect(plain(describeVerified(sums))).toBe(
      '5 copies of 1 file in 1 partition: 1 good, 2 corrupt, 1 gone, 1 of them mended, 1 not verified',
    )
  })

  test('all good is said in one line', () => {
    const sums = { ...none }
    const replicas = [replica(1, 'good', 'good'), replica(2, 'good', 'good')]
    expect(count(sums, '/f', { index: 0, blockId: asBlockId('b'), bytes: 10, replicas })).toEqual([])
    expect(plain(describeVerified(sums))).toBe('all 2 copies are good: 1 file in 1 partition')
  })
})
