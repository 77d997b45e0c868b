import { existsSync, readdirSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { blockDataPath, type CheckedFile } from '../../src/dht/index.ts'
import type { FsckSums, Verdict } from '../../src/cli/files/fsck.ts'
import type { BadReplica, VerifySums } from '../../src/cli/files/verify.ts'
import { connect, type MeshReport, type PeerStatus } from '../../src/node/index.ts'
import { bytesOf, textOf as textOfFile } from '../support/file-bytes.ts'
import { shoal, startShoal, type Ran } from '../support/cli-process.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { KEYS, TerminalSession } from '../support/terminal-session.ts'
import { waitFor } from '../support/wait-for.ts'

/**
 * A mesh as an operator sees it. Six peers, five of which vote: so three holders of a file can be dead while the other three
 * are still a majority of the voters.
 */
const NAMES = ['p1', 'p2', 'p3', 'p4', 'p5', 'p6']
/** Of one partition each; enough that one of them lies with the peer that does not vote and two followers. */
const FILES = 24

const folder = await tempFolder('operator')
const cwd = folder.path
const peersDirectory = join(cwd, '.shoal', 'peers')

type StatusJson = PeerStatus & { peers: MeshReport['peers'] }
interface FsckJson {
  verdict: Verdict
  sums: FsckSums
  unheard: string[]
  files: CheckedFile[]
}

function run(...args: string[]): Promise<Ran> {
  return shoal(args, { cwd })
}

async function json<T>(...args: string[]): Promise<T> {
  const ran = await run(...args, '--json')
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  return JSON.parse(ran.stdout) as T
}

/** Does not mind that something is wrong. */
async function fsck(path: string, ...peer: string[]): Promise<FsckJson & { code: number | null }> {
  const { code, stdout } = await run('fs', 'fsck', path, '--json', ...peer)
  return { code, ...(JSON.parse(stdout) as FsckJson) }
}

function pidOf(name: string): number | undefined {
  const directory = join(peersDirectory, name)
  if (!existsSync(directory)) return undefined
  const lock = readdirSync(directory).find(file => file.startsWith('lock.'))
  return lock === undefined ? undefined : Number(lock.split('.')[1])
}

function killAll(names: readonly string[]): void {
  for (const name of names) {
    const pid = pidOf(name)
    if (pid === undefined) continue
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It had ended already.
    }
  }
}

const textOf = (i: number): string => `file ${i}\n`.repeat(100)

beforeAll(async () => {
  const ran = await run('up', '--peers', String(NAMES.length), '--workers', '1')
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  await using mesh = await connect({ from: cwd })
  for (let i = 0; i < FILES; i++) await mesh.fs.put(`/data/${i}`, bytesOf(textOf(i)), { parents: true })
}, 180_000)

afterAll(async () => {
  killAll(NAMES)
  await folder[Symbol.asyncDispose]()
})

test('status and report tell of every peer what it says of itself, and how many voters may be lost', async () => {
  const status = await json<StatusJson>('status')
  expect(status.peers.map(({ name }) => name).toSorted()).toEqual(NAMES)
  for (const { vitals } of status.peers) {
    expect(vitals).toMatchObject({ space: 'ok', forgot: false, damagedLogs: 0, workers: 1 })
    expect(vitals!.store.freeBytes).toBeGreaterThan(0)
  }
  const copies = status.peers.reduce((sum, { vitals }) => sum + vitals!.store.blocks, 0)
  expect(copies).toBe(FILES * 3)
  const slots = status.peers.reduce((sum, { vitals }) => sum + vitals!.slotsOwned, 0)
  expect(slots).toBe(4_096 * 3)

  const { stdout } = await run('status')
  expect(stdout).toMatch(/^5 voters \(.*\): ready; 2 may be lost$/m)
  expect(stdout).toMatch(/^copies: all there$/m)
  const report = await run('report', '--peer', 'p4')
  for (const name of NAMES)
    expect(report.stdout).toMatch(new RegExp(`^${name}: up, (leader|voter|learner)$`, 'm'))
})

test('status --watch looks again until it is interrupted, which is no failure', async () => {
  const watching = startShoal(['status', '--watch', '0.2', '--json'], { cwd })
  await waitFor('three looks', () => watching.output().split('\n').length > 3)
  watching.kill('SIGINT')
  const { code, stdout } = await watching.ended
  expect(code).toBe(0)
  for (const line of stdout.trim().split('\n'))
    expect((JSON.parse(line) as MeshReport).status.members).toHaveLength(NAMES.length)
  expect(await run('status', '--watch', 'never')).toMatchObject({ code: 2 })
})

test('fsck of a healthy mesh ends with 0 and names where everything is when asked', async () => {
  const { code, verdict, sums, files } = await fsck('/')
  expect({ code, verdict, files }).toEqual({ code: 0, verdict: 'healthy', files: [] })
  expect(sums).toMatchObject({ files: FILES, partitions: FILES, bad: 0 })
  const { stdout } = await run('fs', 'fsck', '/data/0', '--files', '--blocks', '--locations')
  expect(stdout).toMatch(/^\/data\/0: healthy, .*\n {2}partition 0: 3 of 3 copies; good at p\d, p\d, p\d; /)
  expect(await run('fs', 'fsck', '/nothing')).toMatchObject({ code: 1, stdout: '' })
})

test('verify names the corrupt copy and its peer, has it mended, and finds all good the next time', async () => {
  const [file] = await checked('/data/0')
  const block = file!.blocks![0]!
  const { name } = block.holders[1]!
  const path = blockDataPath(join(peersDirectory, name), block.blockId)
  await flipByte(path)

  const found = await run('fs', 'verify', '/data', '--json')
  expect(found.code).toBe(1)
  const { sums, bad } = JSON.parse(found.stdout) as { sums: VerifySums; bad: BadReplica[] }
  expect(sums).toMatchObject({ files: FILES, good: FILES * 3 - 1, corrupt: 1, mended: 1 })
  expect(bad).toMatchObject([{ path: '/data/0', index: 0, name, found: 'corrupt', now: 'good' }])

  const again = await run('fs', 'verify', '/data/0', '/data/1')
  expect(again).toMatchObject({ code: 0 })
  expect(again.stdout).toBe('all 6 copies are good: 2 files in 2 partitions\n')
  const report = await run('report')
  const [, ofPeer] = report.stdout.split(new RegExp(`^${name}: `, 'm'))
  expect(/bad copies .*/.exec(ofPeer!)?.[0]).toMatch(/0 corrupt, 0 gone; 1 found and 1 mended/)
})

test('with all holders of a file dead, the others are read and written as before; its error and fsck name the dead', async () => {
  const status = await json<PeerStatus>('status')
  const nameOf = (peer: string): string => status.members.find(({ peerId }) => peerId === peer)!.name
  const leader = nameOf(status.leader!)
  const voters = status.voters.map(nameOf)
  const silent = NAMES.filter(name => !voters.includes(name))
  const files = await checked('/data')
  const holdersOf = (file: CheckedFile): string[] => file.blocks![0]!.holders.map(({ name }) => name)
  const lost = files.find(file => {
    const holders = holdersOf(file)
    return holders.includes(silent[0]!) && !holders.includes(leader)
  })!
  const dead = holdersOf(lost).toSorted()
  const kept = files.filter(file => holdersOf(file).some(name => !dead.includes(name)))
  expect(kept.length).toBeGreaterThan(FILES / 2)
  const via = ['--peer', leader]

  killAll(dead)
  await waitFor('the leader to take them for dead', async () => {
    const { files: health, members } = await json<PeerStatus>('status', ...via)
    return health.missing > 0 && members.filter(({ liveness }) => liveness === 'alive').length === 3
  })

  // Of this path only, and it says whom to start.
  const failed = await run('fs', 'cat', lost.path, ...via)
  expect(failed).toMatchObject({ code: 1, stdout: '' })
  expect(failed.stderr).toMatch(/^error BLOCK_UNAVAILABLE: /)
  for (const name of dead) expect(failed.stderr).toContain(name)

  {
    await using mesh = await connect({ from: cwd, peer: leader })
    for (const { path } of kept)
      expect(await textOfFile(mesh.fs.get(path)), path).toBe(textOf(Number(path.split('/').at(-1))))
  }
  const put = await shoal(['fs', 'put', '-', '/new', ...via], { cwd, input: 'written meanwhile\n' })
  expect(put, put.stderr).toMatchObject({ code: 0 })
  expect((await run('fs', 'cat', '/new', ...via)).stdout).toBe('written meanwhile\n')
  const moved = await run('fs', 'mv', lost.path, '/data/lost', ...via)
  expect(moved, moved.stderr).toMatchObject({ code: 0 })

  const { code, verdict, files: bad } = await fsck('/', ...via)
  expect({ code, verdict }).toEqual({ code: 1, verdict: 'damaged' })
  const [found] = bad.filter(({ path }) => path === '/data/lost')
  expect(found).toMatchObject({ missing: 1, blocks: [{ index: 0 }] })
  expect(found!.blocks![0]!.holders.map(({ name, state }) => `${name} ${state}`).toSorted()).toEqual(
    dead.map(name => `${name} dead`),
  )
  const text = await run('fs', 'fsck', '/data/lost', ...via)
  expect(text.stdout).toMatch(/^\/data\/lost: 1 partition MISSING/)
  for (const name of dead) expect(text.stdout).toMatch(new RegExp(`0 of 3 copies; .*${name}.* are not here`))

  const shown = (await run('status', ...via)).stdout
  expect(shown).toMatch(/^5 voters .*: p\d, p\d are not reachable; no more may be lost$/m)
  expect(shown).toMatch(/^copies: \d+ partitions? with no living copy \(shoal fs fsck \/ names them\)/m)
}, 180_000)

test('when they are back, everything is as it was, and healthy again', async () => {
  const up = await run('up')
  expect(up, up.stderr).toMatchObject({ code: 0 })
  await waitFor('a healthy mesh', async () => (await fsck('/')).verdict === 'healthy', 90_000)
  const moved = await run('fs', 'cat', '/data/lost')
  expect(moved.stdout).toMatch(/^(file \d+\n){100}$/)
  expect((await run('status')).stdout).toMatch(/^5 voters \(.*\): ready; 2 may be lost$/m)
}, 180_000)

test('the REPL shows status, report and fsck without leaving it', async () => {
  await using session = new TerminalSession(['repl'], { cwd, env: { SHOAL_HISTORY: join(cwd, 'history') } })
  await session.expect(/shoal> /)
  session.type('.status')
  await session.expect(/5 voters \(.*\): ready[^]*shoal> /)
  session.type('.fsck /new')
  await session.expect(/\/new: HEALTHY[^]*shoal> /)
  session.type('.fsck nowhere')
  await session.expect(/error INVALID_PATH[^]*shoal> /)
  session.type('.report')
  await session.expect(/^p6: up/m)
  session.type('(await mesh.report()).peers.length')
  await session.expect(/\b6\b[^]*shoal> /)
  session.press(KEYS.ctrlD)
  expect(await session.exitCode()).toBe(0)
})

async function checked(path: string): Promise<CheckedFile[]> {
  const { files } = JSON.parse((await run('fs', 'fsck', path, '--blocks', '--json')).stdout) as FsckJson
  return files
}

async function flipByte(path: string): Promise<void> {
  await using file = await open(path, 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, 10)
  byte[0]! ^= 0xff
  await file.write(byte, 0, 1, 10)
  await file.sync()
}
