import { createServer } from 'node:net'
import { once } from 'node:events'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { JobListing, PeerStatus } from '../../src/node/index.ts'
import { shoal, startShoal, type Ran } from '../support/cli-process.ts'
import { tempFolder } from '../support/temp-folder.ts'
import { waitFor } from '../support/wait-for.ts'

/** One local mesh, used as a person would: every step is a process of its own. */

const EXAMPLES = fileURLToPath(new URL('../../examples/', import.meta.url))

const folder = await tempFolder('cli')
const cwd = folder.path

function run(...args: string[]): Promise<Ran> {
  return shoal(args, { cwd })
}

async function json<T>(...args: string[]): Promise<T> {
  const ran = await run(...args, '--json')
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  return JSON.parse(ran.stdout) as T
}

/** The processes that hold the data directories, by the names of their lock files. */
function peerPids(): number[] {
  const peers = join(cwd, '.shoal', 'peers')
  if (!existsSync(peers)) return []
  const names = readdirSync(peers).flatMap(peer => readdirSync(join(peers, peer)))
  return names.flatMap(name => /^lock\.(\d+)\./.exec(name)?.[1] ?? []).map(Number)
}

function isShoal(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('shoal.js')
  } catch {
    return false
  }
}

function isUp(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

beforeAll(async () => {
  const ran = await run('up', '--peers', '3', '--workers', '1')
  expect(ran, ran.stderr).toMatchObject({ code: 0 })
  expect(ran.stdout).toMatch(/^3 peers agree \(in .+\); p\d leads, term \d+\./)
})

afterAll(async () => {
  for (const pid of peerPids()) if (isShoal(pid)) process.kill(pid, 'SIGKILL')
  await folder[Symbol.asyncDispose]()
})

test('status tells programs and people who is here and who leads', async () => {
  const status = await json<PeerStatus>('status')
  expect(status.members.map(({ name }) => name).sort()).toEqual(['p1', 'p2', 'p3'])
  expect(status.members.filter(({ role }) => role === 'leader')).toHaveLength(1)
  expect(status).toMatchObject({ votersTarget: 3, voters: { length: 3 }, files: { files: 0 } })

  const leader = status.members.find(({ role }) => role === 'leader')!
  const { stdout } = await run('status', '--peer', 'p2')
  expect(stdout).toContain(`${leader.name} leads in term ${status.term}`)
  expect(stdout).toMatch(/^p2 \* .* up /m)
  expect(await json('leader')).toMatchObject({ name: leader.name, peerId: leader.peerId })
})

test('what is put comes back byte for byte, is listed, and is where locate says', async () => {
  const bytes = randomBytes(3_000_000)
  await writeFile(join(cwd, 'noise.bin'), bytes)
  const put = await json<{ partitions: number }>(
    'fs',
    'put',
    'noise.bin',
    '/data/noise.bin',
    '--parents',
    '--format',
    'binary',
    '--partition-bytes',
    '1000000',
  )
  expect(put.partitions).toBe(3)

  const [toPipe, toFile, listed, located] = await Promise.all([
    run('fs', 'get', '/data/noise.bin', '-'),
    run('fs', 'get', '/data/noise.bin', 'copy.bin', '--peer', 'p3'),
    run('fs', 'ls', '-R', '/'),
    json<{ partitions: { holders: string[]; bytes: number }[] }>('fs', 'locate', '/data/noise.bin'),
  ])
  expect(sha256(toPipe.stdoutBytes)).toBe(sha256(bytes))
  expect(toFile.code).toBe(0)
  expect(sha256(await readFile(join(cwd, 'copy.bin')))).toBe(sha256(bytes))
  expect(listed.stdout).toMatch(/2\.9 MiB +3 +×3 .* \/data\/noise\.bin$/m)
  expect(located.partitions.map(place => place.bytes)).toEqual([1_000_000, 1_000_000, 1_000_000])
  for (const { holders } of located.partitions) expect(holders.toSorted()).toEqual(['p1', 'p2', 'p3'])
  expect(readdirSync(cwd).filter(name => name.endsWith('.part'))).toEqual([])
})

test('standard input becomes a file; its ends are shown; it moves and goes', async () => {
  const text = Array.from({ length: 1000 }, (_, i) => `line ${i + 1}\n`).join('')
  const put = await shoal(['fs', 'put', '-', '/text.txt'], { cwd, input: text })
  expect(put, put.stderr).toMatchObject({ code: 0 })
  const [head, tail, cat] = await Promise.all([
    run('fs', 'head', '-n', '2', '/text.txt'),
    run('fs', 'tail', '-n', '2', '/text.txt'),
    run('fs', 'cat', '/text.txt', '/text.txt'),
  ])
  expect(head.stdout).toBe('line 1\nline 2\n')
  expect(tail.stdout).toBe('line 999\nline 1000\n')
  expect(cat.stdout).toBe(text + text)

  expect((await run('fs', 'mkdir', '-p', '/a/b')).code).toBe(0)
  expect(await json('fs', 'mv', '/text.txt', '/a/b')).toMatchObject({ path: '/a/b/text.txt' })
  expect(await json('fs', 'du', '/a')).toMatchObject({ files: 1, sizeBytes: text.length })
  expect((await run('fs', 'rm', '/a')).stderr).toMatch(/^error DIRECTORY_NOT_EMPTY: /)
  expect(await json('fs', 'rm', '-r', '/a')).toMatchObject({ files: 1 })
})

test('jobs run from any folder, as a function of the mesh or attaching by themselves', async () => {
  await writeFile(
    join(cwd, 'squares.ts'),
    `import type { Mesh } from 'shoal'
     export default async function (mesh: Mesh, [factor = '1', ...rest]: readonly string[]) {
       const by: number = Number(factor)
       console.log(await mesh.range(5).map(n => n * n * by).collect(), rest)
     }`,
  )
  await writeFile(
    join(cwd, 'attach.mjs'),
    `import { connect, ShoalError } from 'shoal'
     await using mesh = await connect()
     console.log(await mesh.range(101).sum(), process.argv.slice(2), typeof ShoalError)`,
  )
  const [squares, attach, pi] = await Promise.all([
    run('run', 'squares.ts', '3', '--json', '-x'),
    run('run', '--peer', 'p2', 'attach.mjs', 'one', 'two'),
    run('run', join(EXAMPLES, 'estimate-pi.ts'), '100000'),
  ])
  expect(squares.stdout).toBe(`[ 0, 3, 12, 27, 48 ] [ '--json', '-x' ]\n`)
  expect(attach.stdout).toBe(`5050 [ 'one', 'two' ] function\n`)
  expect(pi.stdout).toMatch(/^π is about 3\.1\d* /)
  for (const { code, stderr } of [squares, attach, pi])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
})

test('the examples answer', async () => {
  const [words, delays] = await Promise.all([
    run('run', join(EXAMPLES, 'word-count.ts')),
    run('run', join(EXAMPLES, 'mean-delay.ts')),
  ])
  expect(words.stdout).toMatch(/^ +14144 {2}the\n +6460 {2}of\n/)
  expect(delays.stdout).toMatch(/^ +16\.2 min {2}JFK {2}John F Kennedy Intl\n/)
})

test('Ctrl-C cancels the job and says so with 130; cancel does it from elsewhere', async () => {
  await writeFile(
    join(cwd, 'slow.ts'),
    `export default async mesh => {
       const spin = (n: number): number => { const t = Date.now(); while (Date.now() - t < 60_000); return n }
       await mesh.range(0, 3, 1, 3).map(spin).sum({ name: process.argv[2] })
     }`,
  )
  const named = async (name: string): Promise<JobListing | undefined> =>
    (await json<JobListing[]>('jobs')).find(job => job.name === name)
  const commands = {
    interrupted: startShoal(['run', 'slow.ts', 'interrupted'], { cwd }),
    cancelled: startShoal(['run', 'slow.ts', 'cancelled'], { cwd }),
  }
  const jobs = await waitFor('both jobs to run', async () => {
    const [interrupted, cancelled] = [await named('interrupted'), await named('cancelled')]
    return interrupted !== undefined && cancelled !== undefined && { interrupted, cancelled }
  })

  commands.interrupted.kill('SIGINT')
  expect(await commands.interrupted.ended).toMatchObject({ code: 130, stderr: 'interrupted\n' })
  expect((await run('cancel', jobs.cancelled.jobId, '--reason', 'not needed')).code).toBe(0)
  const cancelled = await commands.cancelled.ended
  expect(cancelled.code).toBe(1)
  expect(cancelled.stderr).toMatch(/^error JOB_CANCELLED: .*not needed/)
  for (const name of ['interrupted', 'cancelled']) {
    await waitFor(`${name} to be listed as such`, async () => (await named(name))?.status === 'cancelled')
  }
})

test('wrong jobs: each says what, where, and ends with 1', async () => {
  await writeFile(join(cwd, 'syntax.ts'), 'const fine: number = 1\nconst wrong = = 2\n')
  await writeFile(
    join(cwd, 'throws.ts'),
    `export default async mesh => {\n  await mesh.range(0, 4, 1, 4).map(n => {\n    if (n === 2) throw new RangeError('no 2')\n    return n\n  }).sum()\n}\n`,
  )
  await writeFile(
    join(cwd, 'socket.ts'),
    `import { Socket } from 'node:net'\nconst socket = new Socket()\nexport default async mesh => {\n  await mesh.range(4).map(n => socket.write(String(n))).count()\n}\n`,
  )
  await writeFile(
    join(cwd, 'own.ts'),
    `export default async mesh => {\n  const nothing = undefined\n  nothing.x\n}\n`,
  )
  const [syntax, throws, socket, own, missing] = await Promise.all(
    ['syntax.ts', 'throws.ts', 'socket.ts', 'own.ts', 'missing.ts'].map(file => run('run', file)),
  )
  expect(syntax!.stderr).toMatch(/^error SYNTAX_ERROR: syntax\.ts:2: .*\n {2}const wrong = = 2\n/)
  expect(throws!.stderr).toMatch(/^error TASK_FAILED: RangeError: no 2, at .*throws\.ts:3:\d+/)
  expect(throws!.stderr).toMatch(/ on peer p[123], stage 0, partition 2, attempt \d/)
  expect(socket!.stderr).toMatch(/^error CLOSURE_REFUSED: socket\.ts:4: map\(\): .*"socket".* Socket/)
  expect(own!.stderr).toMatch(
    /^error: TypeError: Cannot read properties of undefined.*\n {2}at .*own\.ts:3:11/,
  )
  expect(missing!.stderr).toMatch(/^error LOCAL_FILE: .*missing\.ts: no such file/)
  for (const { code, stdout } of [syntax!, throws!, socket!, own!, missing!]) {
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  }
})

test('wrong paths, peers, keys, ports and directories: each is one calm line', async () => {
  await writeFile(join(cwd, 'small.txt'), 'small\n')
  await writeFile(join(cwd, 'other.key'), `${'5e'.repeat(32)}\n`)
  await run('fs', 'put', 'small.txt', '/small.txt')
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const data = join(cwd, 'elsewhere')
  const dead = '/ip4/127.0.0.1/tcp/9/p2p/12D3KooWDLazdCAaTcvS8vDM2btXUZz2UUUpscA4VJTrEm7pgKve'
  const cases: [args: string[], stderr: RegExp][] = [
    [['fs', 'cat', '/nope'], /^error NOT_FOUND: .*\/nope/],
    [['fs', 'put', 'small.txt', '/no/dir/x'], /^error NOT_FOUND: .*--parents/],
    [['fs', 'put', 'small.txt', '/small.txt'], /^error ALREADY_EXISTS: .*\/small\.txt.*--overwrite/],
    [['fs', 'put', 'nope.txt', '/x'], /^error LOCAL_FILE: .*nope\.txt: no such file/],
    [['fs', 'get', '/small.txt', 'small.txt'], /^error LOCAL_FILE: .*--overwrite/],
    [['fs', 'ls', 'relative'], /^error INVALID_PATH: "relative"/],
    [['status', '--key', 'other.key'], /^error NOT_ADMITTED: /],
    [['status', '--peer', dead], /^error UNREACHABLE: .*tcp\/9\//],
    [
      ['status', '--peer', 'p9'],
      /^error UNREACHABLE: no running local peer is called p9; there are p1, p2, p3\n$/,
    ],
    [['cancel', 'no/1'], /^error JOB_UNKNOWN: /],
    [
      ['peer', '--data', join(cwd, '.shoal/peers/p1')],
      /error DATA_DIR_LOCKED: .*p1 is in use by process \d+/,
    ],
    [['peer', '--data', data, '--listen', `/ip4/127.0.0.1/tcp/${port}`], /error PORT_TAKEN: /],
  ]
  try {
    const answers = await Promise.all(cases.map(([args]) => run(...args)))
    for (const [i, { code, stderr, stdout }] of answers.entries()) {
      const [args, expected] = cases[i]!
      expect(stderr, args.join(' ')).toMatch(expected)
      expect({ args, code, stdout }).toEqual({ args, code: 1, stdout: '' })
      expect(stderr, 'no stack').not.toMatch(/^\s+at /m)
    }
  } finally {
    server.close()
  }
  const asJson = await run('fs', 'cat', '/nope', '--json')
  expect(JSON.parse(asJson.stderr)).toMatchObject({
    error: { code: 'NOT_FOUND', details: { path: '/nope' } },
  })
})

test('a command line that makes no sense ends with 2 and says how to find out', async () => {
  const cases = [
    ['frobnicate'],
    ['fs', 'head', '-n', 'ten', '/x'],
    ['fs', 'put', 'only-one'],
    ['up', '--nonsense'],
  ]
  const answers = await Promise.all(cases.map(args => run(...args)))
  expect(answers.map(({ code }) => code)).toEqual([2, 2, 2, 2])
  expect(answers[0]!.stderr).toContain("unknown command 'frobnicate'")
  expect(answers[1]!.stderr).toMatch(/^error CONFIG_INVALID: --lines: .*"ten"/)
  const help = await run('fs', 'put', '--help')
  expect(help).toMatchObject({ code: 0, stderr: '' })
  expect(help.stdout).toContain('Example:\n  $ shoal fs put ')
})

test('where there is no mesh, commands say how to get one', async () => {
  await using empty = await tempFolder('cli-empty')
  const [status, down] = await Promise.all([
    shoal(['status'], { cwd: empty.path }),
    shoal(['down'], { cwd: empty.path }),
  ])
  expect(status.code).toBe(1)
  expect(status.stderr).toMatch(/^error NOT_A_MESH: .*`shoal up`/)
  expect(down).toMatchObject({ code: 0, stdout: 'no peer runs here\n' })
})

test('a peer that cannot start: its own error is shown, and what was started is stopped', async () => {
  await using broken = await tempFolder('cli-broken')
  const p2 = join(broken.path, '.shoal', 'peers', 'p2')
  await mkdir(p2, { recursive: true })
  await writeFile(join(p2, 'mesh.json'), 'damaged')
  await writeFile(join(broken.path, '.shoal', 'mesh.key'), `${'0a'.repeat(32)}\n`, { mode: 0o600 })
  const ran = await shoal(['up', '--peers', '2', '--workers', '1'], { cwd: broken.path })
  expect(ran.code).toBe(1)
  expect(ran.stderr).toMatch(/^error DATA_DIR_INVALID: peer p2 did not start: .*mesh\.json is damaged/)
  expect((await shoal(['down'], { cwd: broken.path })).stdout).toBe('no peer runs here\n')
})

test('up in the foreground stays until Ctrl-C, which is no failure and takes the mesh down', async () => {
  await using place = await tempFolder('cli-foreground')
  const command = startShoal(['up', '--peers', '1', '--workers', '1', '--foreground'], { cwd: place.path })
  await waitFor('the mesh to be up', () => command.output().includes('Ctrl-C stops them'))
  const { pid } = JSON.parse(await readFile(join(place.path, '.shoal/run/p1.json'), 'utf8')) as {
    pid: number
  }
  expect(isUp(pid)).toBe(true)
  command.kill('SIGINT')
  expect((await command.ended).code).toBe(0)
  expect(isUp(pid)).toBe(false)
})

test('up starts only what is missing; down stops all; up again brings the files back', async () => {
  const bytes = Buffer.from('one\ntwo\n'.repeat(1000))
  expect((await shoal(['fs', 'put', '-', '/kept.txt'], { cwd, input: bytes })).code).toBe(0)
  const again = await json<{ started: string[] }>('up')
  expect(again.started).toEqual([])

  const { pid } = JSON.parse(await readFile(join(cwd, '.shoal/run/p2.json'), 'utf8')) as { pid: number }
  expect(isShoal(pid)).toBe(true)
  process.kill(pid, 'SIGKILL')
  await waitFor('p2 to be gone', () => !isUp(pid))
  expect((await json<{ started: string[] }>('up', '--workers', '1')).started).toEqual(['p2'])

  const pids = peerPids().filter(isShoal)
  expect(pids).toHaveLength(3)
  expect(await json('down')).toEqual({ stopped: ['p1', 'p2', 'p3'], killed: [] })
  expect(pids.filter(isUp)).toEqual([])
  expect(peerPids()).toEqual([])
  expect(readdirSync(join(cwd, '.shoal', 'run'))).toEqual([])
  expect((await run('down')).stdout).toBe('no peer runs here\n')

  expect((await json<{ started: string[] }>('up', '--workers', '1')).started).toEqual(['p1', 'p2', 'p3'])
  const back = await run('fs', 'get', '/kept.txt', '-')
  expect(back.stdoutBytes.equals(bytes)).toBe(true)
  expect((await run('down')).code).toBe(0)
})

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}
