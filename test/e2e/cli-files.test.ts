import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect } from '../../src/node/index.ts'
import { shoal, startShoal, type Ran } from '../support/cli-process.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { waitFor } from '../support/wait-for.ts'

/** The file commands on one local mesh of three peers, used as a person would: every step is a process of its own. */

const folder = await tempFolder('cli-files')
const cwd = folder.path

function run(...args: string[]): Promise<Ran> {
  return shoal(['fs', ...args], { cwd })
}

async function ok(...args: string[]): Promise<string> {
  const ran = await run(...args)
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  return ran.stdout
}

async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse(await ok(...args, '--json')) as T
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** The processes that hold the data directories, by the names of their lock files. */
function peerPids(): Map<string, number> {
  const peers = join(cwd, '.shoal', 'peers')
  const found = new Map<string, number>()
  if (!existsSync(peers)) return found
  for (const peer of readdirSync(peers)) {
    for (const name of readdirSync(join(peers, peer))) {
      const pid = Number(/^lock\.(\d+)\./.exec(name)?.[1])
      if (isShoal(pid)) found.set(peer, pid)
    }
  }
  return found
}

function isShoal(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('shoal.js')
  } catch {
    return false
  }
}

beforeAll(async () => {
  const ran = await shoal(['up', '--peers', '3', '--workers', '1'], { cwd })
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
})

afterAll(async () => {
  for (const pid of peerPids().values()) process.kill(pid, 'SIGKILL')
  await folder[Symbol.asyncDispose]()
})

describe('trees', () => {
  test('a folder goes in and comes back; what is no file is named', async () => {
    const tree = join(cwd, 'tree')
    await mkdir(join(tree, 'sub'), { recursive: true })
    await mkdir(join(tree, 'empty'))
    for (let i = 0; i < 40; i++) await writeFile(join(tree, 'sub', `part-${i}.csv`), `id\n${i}\n`)
    await writeFile(join(tree, 'readme.txt'), 'hello\n')
    await symlink('readme.txt', join(tree, 'link'))

    const put = await run('put', 'tree', '/tree')
    expect(put, put.stderr).toMatchObject({ code: 0 })
    expect(put.stderr).toBe('left out tree/link: a link, not a file\n')
    expect(put.stdout).toMatch(/^\/tree: 41 files, .*files\/s\n$/)

    await ok('get', '/tree', 'back')
    const names = (await readdir(join(cwd, 'back'), { recursive: true })).sort()
    expect(names).toEqual((await readdir(tree, { recursive: true })).filter(name => name !== 'link').sort())
    expect(await readFile(join(cwd, 'back', 'sub', 'part-7.csv'), 'utf8')).toBe('id\n7\n')

    // A second time: each file says that it is there, none is touched, and the command fails.
    const again = await run('put', 'tree', '/')
    expect(again.code).toBe(1)
    expect(again.stdout).toMatch(/41 files failed/)
    expect(again.stderr).toMatch(/^error ALREADY_EXISTS: \/tree\/readme\.txt/m)
    expect((await run('put', 'tree', '/', '--overwrite')).code).toBe(0)
  })

  test('patterns, find, count, du and ls agree on what is there', async () => {
    expect(await ok('ls', '-C', '/tree/sub/part-3[0-2].csv')).toBe(
      '/tree/sub/part-30.csv\n/tree/sub/part-31.csv\n/tree/sub/part-32.csv\n',
    )
    expect((await ok('find', '/tree', '-name', 'part-1*', '-type', 'f')).split('\n')).toHaveLength(12)
    expect(await ok('find', '/tree', '-type', 'd')).toBe('/tree\n/tree/empty\n/tree/sub\n')
    expect(await json('count', '/tree')).toMatchObject({ directories: 3, files: 41 })
    expect(await json('du', '-s', '/tree/sub')).toMatchObject({ files: 40, directories: 0 })
    expect(await ok('ls', '-C', '-S', '/tree/sub')).toMatch(/^\/tree\/sub\/part-1\d\.csv\n/)
    expect(await ok('ls', '-d', '-C', '/tree')).toBe('/tree\n')
    const newestFirst = await json<{ modifiedMs: number }[]>('ls', '-t', '/tree/sub')
    expect(newestFirst.map(({ modifiedMs }) => modifiedMs)).toEqual(
      newestFirst.map(({ modifiedMs }) => modifiedMs).sort((a, b) => b - a),
    )
    expect(await ok('stat', '--format', '%n %b', '/tree/readme.txt')).toBe('readme.txt 6\n')
    expect((await run('ls', '/tree/*.parquet')).stderr).toMatch(/^error NOT_FOUND: nothing matches/)
  })

  test('copies, merges, moves and removals take several paths', async () => {
    await ok('cp', '/tree', '/copy')
    expect(await json('count', '/copy')).toMatchObject({ directories: 3, files: 41 })
    await ok('getmerge', '/copy/sub/part-1?.csv', 'merged.csv')
    expect((await readFile(join(cwd, 'merged.csv'), 'utf8')).split('\n')).toHaveLength(21)
    await ok('mkdir', '/moved')
    await ok('mv', '/copy/sub/part-2*.csv', '/copy/readme.txt', '/moved')
    expect(await json<unknown[]>('ls', '/moved')).toHaveLength(12)
    await ok('rm', '-r', '/copy', '/moved/part-*')
    expect(await ok('ls', '-C', '/moved')).toBe('/moved/readme.txt\n')
    expect((await run('rm', '/nope')).code).toBe(1)
    expect((await run('rm', '-f', '/nope')).code).toBe(0)
  })
})

describe('what is in files', () => {
  test('checksum is that of sha256sum; text unpacks; head and tail count lines and bytes', async () => {
    const bytes = randomBytes(300_000)
    await writeFile(join(cwd, 'noise.bin'), bytes)
    await ok('put', 'noise.bin', '/noise.bin', '--format', 'binary', '--partition-bytes', '100000')
    expect(await ok('checksum', '/noise.bin')).toBe(`${sha256(bytes)}  /noise.bin\n`)
    await writeFile(join(cwd, 'log.gz'), gzipSync('one\ntwo\nthree\n'))
    await ok('put', 'log.gz', '/log')
    expect(await ok('text', '/log')).toBe('one\ntwo\nthree\n')
    await shoal(['fs', 'put', '-', '/lines'], { cwd, input: 'one\ntwo\nthree\n' })
    expect(await ok('head', '-c', '5', '/lines')).toBe('one\nt')
    expect(await ok('tail', '-c', '6', '/lines')).toBe('three\n')
    expect(await ok('head', '-n', '1', '/lines', '/log')).toMatch(/^==> \/lines <==\none\n\n==> \/log <==\n/)
    const cat = await shoal(['fs', 'cat', '-', '/lines'], { cwd, input: 'zero\n' })
    expect(cat.stdout).toBe('zero\none\ntwo\nthree\n')
  })

  test('test answers by its exit code', async () => {
    await shoal(['fs', 'put', '-', '/empty'], { cwd })
    const codes = await Promise.all(
      [
        ['/empty'],
        ['-e', '/nope'],
        ['-d', '/tree'],
        ['-d', '/empty'],
        ['-f', '-z', '/empty'],
        ['-s', '/empty'],
        ['-s', '/tree'],
        ['-e', 'relative'],
        ['-e', '/empty', '--peer', 'nobody'],
      ].map(async args => (await run('test', ...args)).code),
    )
    expect(codes).toEqual([0, 1, 0, 1, 0, 1, 0, 3, 3])
  })

  test('tail -f shows another file of that name, and ends with Ctrl-C', async () => {
    await shoal(['fs', 'put', '-', '/followed'], { cwd, input: 'one\ntwo\n' })
    const tail = startShoal(['fs', 'tail', '-n', '1', '-f', '/followed'], { cwd })
    await waitFor('the last line', () => tail.output().includes('two\n'))
    await shoal(['fs', 'put', '-', '/followed', '--overwrite'], { cwd, input: 'three\n' })
    await waitFor('the new file', () => tail.output().includes('three\n'))
    tail.kill('SIGINT')
    const { code, stdout, stderr } = await tail.ended
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'two\nthree\n' })
    expect(stderr).toMatch(/\/followed was replaced/)
  })
})

describe('additions', () => {
  test('append adds files and standard input; tail -f shows it as it comes', async () => {
    await writeFile(join(cwd, 'two'), 'two\n')
    await shoal(['fs', 'put', '-', '/app'], { cwd, input: 'one\n' })
    const tail = startShoal(['fs', 'tail', '-f', '/app'], { cwd })
    await waitFor('what is there', () => tail.output() === 'one\n')
    expect(await ok('append', 'two', '/app')).toMatch(/^\/app: 4 B more, 8 B now/)
    const piped = await shoal(['fs', 'append', '-', '/app', '--json'], { cwd, input: 'three\n' })
    expect(JSON.parse(piped.stdout)).toMatchObject({ appended: 6, bytes: 14, partitions: 1 })
    await waitFor('what was added', () => tail.output() === 'one\ntwo\nthree\n')
    tail.kill('SIGINT')
    expect(await tail.ended).toMatchObject({ code: 0, stderr: '' })
    expect(await ok('cat', '/app')).toBe('one\ntwo\nthree\n')
    expect((await run('append', 'two', '/nope')).stderr).toMatch(/^error NOT_FOUND: .*fs touch/)
  })
})

describe('care', () => {
  test('what is removed comes back, unless the trash is left out or emptied', async () => {
    await ok('expunge')
    for (const path of ['/bin/a', '/bin/b', '/bin/c'])
      await shoal(['fs', 'put', '-', path, '--parents'], { cwd, input: path })
    expect(await ok('rm', '/bin/a')).toMatch(/undelete/)
    expect(await json('trash')).toMatchObject([{ path: '/bin/a' }])
    await ok('undelete', '/bin/a')
    expect(await ok('cat', '/bin/a')).toBe('/bin/a')
    expect(await ok('rm', '--skip-trash', '/bin/b')).toMatch(/for good/)
    expect((await run('undelete', '/bin/b')).stderr).toMatch(/^error NOT_FOUND/)
    await ok('rm', '/bin/c')
    await ok('expunge')
    expect(await ok('trash')).toBe('the trash is empty\n')
  })

  test('quotas refuse what is too much, snapshots keep what was, metadata is noted', async () => {
    await ok('mkdir', '/care')
    await shoal(['fs', 'put', '-', '/care/f'], { cwd, input: 'before' })
    expect(await ok('snapshot', 'create', '/care', 's1')).toBe('/care/.snapshot/s1\n')
    await shoal(['fs', 'put', '-', '/care/f', '--overwrite'], { cwd, input: 'after' })
    expect(await ok('cat', '/care/.snapshot/s1/f')).toBe('before')
    await ok('snapshot', 'rename', '/care', 's1', 's2')
    expect(await json('snapshot', 'list', '/care')).toMatchObject([{ name: 's2' }])
    await ok('snapshot', 'delete', '/care', 's2')

    expect(await ok('quota', '/care', '--names', '2')).toMatch(/2 names, of 2/)
    const refused = await shoal(['fs', 'put', '-', '/care/g'], { cwd, input: 'x' })
    expect(refused.stderr).toMatch(/^error QUOTA_EXCEEDED: .*\/care/)
    expect(await ok('count', '-q', '/care')).toMatch(/^ +2 +0 +none +inf +1 +1 +5 \/care\n$/)
    await ok('quota', '/care', '--names', 'none')

    await ok('chmod', '640', '/care/f')
    await ok('chown', 'ada:staff', '/care/f')
    await ok('setrep', '2', '/care/f')
    await ok('touch', '-t', '2026-01-02T03:04:05Z', '/care/f')
    expect(await ok('stat', '--format', '%a %u %g %r %y', '/care/f')).toBe(
      '640 ada staff 2 2026-01-02 03:04:05\n',
    )
    await ok('touch', '/care/empty')
    expect((await run('test', '-z', '/care/empty')).code).toBe(0)
    const { all, peers } = await json<{ all: { blocks: number }; peers: { name: string }[] }>('df')
    expect(peers.map(({ name }) => name).sort()).toEqual(['p1', 'p2', 'p3'])
    expect(all.blocks).toBeGreaterThan(0)
  })
})

describe('uploads that are interrupted', () => {
  const bytes = randomBytes(48 * 2 ** 20)
  const put = ['put', 'big.bin', '/big.bin', '--format', 'binary', '--partition-bytes', '1048576']

  /** Waits until so many partitions of an upload are recorded. */
  async function stored(path: string, partitions: number): Promise<void> {
    await using mesh = await connect({ from: cwd, peer: 'p1' })
    await waitFor(`${partitions} partitions of ${path}`, async () => {
      for (const { token } of await mesh.fs.openWrites(path)) {
        const [open] = await mesh.fs.openWrites(path, token === undefined ? {} : { token })
        if ((open?.blocks.length ?? 0) >= partitions) return true
      }
      return false
    })
  }

  test('by the death of their client go on from what is stored, when the same command is given again', async () => {
    await writeFile(join(cwd, 'big.bin'), bytes)
    const first = startShoal(['fs', ...put, '--resume'], { cwd })
    await stored('/big.bin', 3)
    first.kill('SIGKILL')
    await first.ended
    expect((await run('test', '-e', '/big.bin')).code).toBe(1)

    const again = await json<{ resumedAt: number; bytes: number }>(...put, '--resume')
    expect(again.bytes).toBe(bytes.length)
    expect(again.resumedAt).toBeGreaterThanOrEqual(3 * 2 ** 20)
    expect(await ok('checksum', '/big.bin')).toBe(`${sha256(bytes)}  /big.bin\n`)
    expect(await ok(...put, '--resume')).toMatch(/was there already with the same bytes/)
    await ok('rm', '--skip-trash', '/big.bin')
  })

  test.each(['--resume', '--quiet'])(
    'by the death of the peer that takes them go on at another one (%s)',
    async flag => {
      const putting = startShoal(['fs', ...put, '--peer', 'p2', flag], { cwd })
      await stored('/big.bin', 3)
      process.kill(peerPids().get('p2')!, 'SIGKILL')
      const ended = await putting.ended
      expect(ended, ended.stderr).toMatchObject({ code: 0 })
      expect(ended.stderr).toMatch(/going on/)
      expect(await ok('checksum', '/big.bin')).toBe(`${sha256(bytes)}  /big.bin\n`)
      await ok('rm', '--skip-trash', '/big.bin')
      expect(await shoal(['up', '--peers', '3', '--workers', '1'], { cwd })).toMatchObject({ code: 0 })
    },
  )
})

test('wrong on purpose: each is one calm line that says what to do', async () => {
  await mkdir(join(cwd, 'afolder'), { recursive: true })
  await writeFile(join(cwd, 'small'), 'small\n')
  const cases: [args: string[], code: number, stderr: RegExp][] = [
    [
      ['put', 'nope', '/x'],
      1,
      /^error LOCAL_FILE: cannot read the local file nope: no such file or folder$/m,
    ],
    [['put', 'small'], 2, /^error CONFIG_INVALID: <path>: it is missing: .*--help/],
    [['put', 'small', '-', '/x'], 2, /^error CONFIG_INVALID: .*stands alone/],
    [['put', 'small', 'relative'], 1, /^error INVALID_PATH: "relative".*start it with \//],
    [['put', 'small', 'small', '/nowhere'], 1, /^error NOT_FOUND: .*--parents/],
    [['put', 'afolder', '/tree/readme.txt'], 1, /^error NOT_A_DIRECTORY: \/tree\/readme\.txt/],
    [['get', '/tree', 'small'], 1, /^error LOCAL_FILE: .*small/],
    [['get', '/tree', '-'], 1, /^error IS_A_DIRECTORY: \/tree/],
    [['cat', '/tree'], 1, /^error IS_A_DIRECTORY: \/tree/],
    [['cp', '/tree', '/tree/below'], 1, /^error INVALID_PATH: .*into itself/],
    [['head', '-n', '1', '-c', '1', '/lines'], 2, /^error CONFIG_INVALID: --bytes: it excludes --lines/],
    [['find', '/tree', '-type', 'x'], 2, /^error CONFIG_INVALID: -type/],
    [['ls', '/{a'], 1, /^error INVALID_PATH: .*not closed/],
  ]
  await Promise.all(
    cases.map(async ([args, code, stderr]) => {
      const ran = await run(...args)
      expect(ran.stderr, args.join(' ')).toMatch(stderr)
      expect(ran.code, args.join(' ')).toBe(code)
      expect(ran.stderr.trim().split('\n'), args.join(' ')).toHaveLength(1)
    }),
  )
})
