import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { asFileId, ShoalError, silentLogger, toWire, type FileId } from '../../../../src/base/index.ts'
import { Namespace, type NamespaceCommand, type NamespaceResult } from '../../../../src/dht/index.ts'
import { DETACHED_KEEPER } from '../../../../src/node/config.ts'
import { DetachedKeeper, partsDirectory } from '../../../../src/node/jobs/detached-keeper.ts'
import {
  Jobs,
  partName,
  type DetachedOutput,
  type JobsCommand,
  type JobsResult,
} from '../../../../src/rdd/index.ts'

/** Waits for what happens in turns of the event loop, not for time; generous for a busy machine. */
const PATIENCE = { timeout: 20_000 }

const FILES: DetachedOutput = { kind: 'files', path: '/out', overwrite: false }
const LOST = new ShoalError('UNKNOWN_OUTCOME', { what: 'the leader died' })

/** The replicated state for real, and leaders that come and go. */
class World {
  readonly jobs = new Jobs()
  readonly namespace = new Namespace({ slotCount: 16 })
  readonly taken: { jobId: string; done: number[] }[] = []
  readonly accepted: number[][] = []
  readonly renewed: string[][] = []
  readonly letGo: string[] = []
  epochMs = 1_000
  /** Carried out, but nobody hears of it: as when the leader dies at that moment. */
  loses: (what: string) => boolean = () => false
  /** Not carried out: as without a leader. */
  refuses: (what: string) => boolean = () => false
  /** Outputs that log entries made visible. */
  commits = 0
  #index = 0
  #files = 0
  readonly #keepers: DetachedKeeper[] = []

  apply(command: NamespaceCommand): NamespaceResult {
    const result = this.namespace.apply(command, { index: ++this.#index, term: 1, timeMs: this.epochMs })
    this.namespace.assertInvariants()
    return result
  }

  record(command: JobsCommand): JobsResult {
    const result = this.jobs.apply(command, { index: ++this.#index, term: 1, timeMs: this.epochMs })
    this.jobs.assertInvariants()
    return result
  }

  newId(): FileId {
    return asFileId((++this.#files).toString(16).padStart(32, '0'))
  }

  put(path: string): void {
    const fileId = this.newId()
    this.apply({ type: 'begin-file', path, fileId, leaseMs: 1_000 })
    const result = this.apply({ type: 'commit-file', fileId, blockCount: 0 })
    expect(result.ok).toBe(true)
  }

  /** What a client does, without the plan if it is to be missing. */
  prepare(jobId: string, plan = true): void {
    this.apply({ type: 'mkdir', path: partsDirectory(jobId), parents: true })
    if (plan) this.put(partsDirectory(jobId).replace(/out$/, 'plan'))
  }

  detach(jobId: string, output = FILES, partitions = 2): void {
    const detached = { partitions, suffix: '', output }
    const result = this.record({
      type: 'detach',
      job: { jobId, name: 'n', requester: 'c', relay: 'r', planHash: 'h', detached },
    })
    expect(result).toEqual({ ok: true })
  }

  finishPart(jobId: string, partition: number): void {
    this.put(`${partsDirectory(jobId)}/${partName(partition, '')}`)
  }

  /** Leads from here on. */
  keeper(): DetachedKeeper {
    const ask = async <T>(what: string, answer: () => T): Promise<T> => {
      await Promise.resolve()
      if (this.refuses(what)) throw new ShoalError('NO_QUORUM', { term: 1, voters: [] })
      const result = answer()
      if (this.loses(what)) throw LOST
      return result
    }
    const keeper = new DetachedKeeper(
      {
        jobs: () => this.jobs.list(),
        exists: path => this.namespace.exists(path),
        list: path => (this.namespace.exists(path) ? this.namespace.list(path) : undefined),
        read: path =>
          ask('read', () => {
            if (!this.namespace.exists(path)) throw new ShoalError('NOT_FOUND', { path })
            return new Uint8Array(1)
          }),
        record: command => ask(command.type, () => this.record(command)),
        commitOutput: output =>
          ask('commit', () => {
            const before = this.namespace.exists(output.path) ? this.namespace.stat(output.path) : undefined
            const result = this.apply({ type: 'commit-output', parts: [], ...output })
            if (result.ok && before === undefined) this.commits += 1
            return result.ok ? undefined : result.error
          }),
        remove: path => ask('remove', () => void this.apply({ type: 'rm', path, recursive: true })),
        epochMs: () => this.epochMs,
        log: silentLogger,
      },
      {
        takeUp: ({ jobId }, _plan, done) => {
          this.taken.push({ jobId, done: [...done] })
          if (done.length === 2) keeper.completed(jobId, { tasks: 2, retried: 0 })
        },
        accept: (_jobId, partitions) => this.accepted.push([...partitions]),
        letGo: jobId => this.letGo.push(jobId),
        renew: jobIds => this.renewed.push([...jobIds]),
      },
    )
    this.#keepers.push(keeper)
    return keeper
  }

  stop(): void {
    for (const keeper of this.#keepers) keeper.stop()
  }
}

let world: World

beforeEach(() => {
  world = new World()
})

afterEach(() => {
  world.stop()
})

async function statusIs(jobId: string, status: string): Promise<void> {
  await vi.waitFor(() => expect(world.jobs.get(jobId)?.status).toBe(status), PATIENCE)
}

describe('a detached job', () => {
  test('is taken up with the parts that are durable, and what lands later counts even if nobody reports it', async () => {
    world.prepare('a/1')
    world.finishPart('a/1', 1)
    world.detach('a/1')
    const keeper = world.keeper()
    keeper.look()
    await vi.waitFor(() => expect(world.taken).toEqual([{ jobId: 'a/1', done: [1] }]), PATIENCE)
    world.finishPart('a/1', 0)
    keeper.onFile(`${partsDirectory('a/1')}/part-00000`)
    keeper.onFile('/somewhere/part-00000')
    keeper.tick(0)
    // Whoever made it has a moment to report it, with its figures.
    expect(world.accepted).toEqual([])
    keeper.tick(500)
    expect(world.accepted).toEqual([[0, 1]])
    expect(world.renewed).toEqual([['a/1']])
  })

  test.each(['commit', 'jobs', 'both'])(
    'whose leader dies as it ends (%s) has its output committed once, and nothing of it runs again',
    async moment => {
      world.prepare('a/1')
      world.finishPart('a/1', 0)
      world.finishPart('a/1', 1)
      world.detach('a/1')
      let lost = 0
      const first = world.keeper()
      world.loses = what => {
        if (moment === 'both' ? what === 'read' : what !== moment) return false
        lost += 1
        first.stop()
        return true
      }
      first.look()
      await vi.waitFor(() => expect(lost).toBe(1), PATIENCE)
      world.loses = () => false
      if (moment === 'commit') expect(world.namespace.exists('/out/_SUCCESS')).toBe(true)
      world.keeper().look()
      await statusIs('a/1', 'done')
      expect(world.commits).toBe(1)
      expect(world.namespace.list('/out').map(({ name }) => name)).toEqual([
        '_SUCCESS',
        'part-00000',
        'part-00001',
      ])
      expect(world.taken.filter(({ done }) => done.length < 2)).toEqual([])
      await vi.waitFor(() => expect(world.namespace.list('/.jobs')).toEqual([]), PATIENCE)
    },
  )

  test('whose output somebody else has made meanwhile fails, and leaves theirs alone', async () => {
    world.prepare('a/1')
    world.finishPart('a/1', 0)
    world.finishPart('a/1', 1)
    world.detach('a/1')
    world.apply({ type: 'mkdir', path: '/out' })
    world.keeper().look()
    await statusIs('a/1', 'failed')
    expect(world.jobs.get('a/1')).toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(world.namespace.list('/out')).toEqual([])
  })

  test('without its plan fails; without its parts too, if they were not committed', async () => {
    world.prepare('a/1', false)
    world.detach('a/1')
    world.detach('b/1')
    world.keeper().look()
    await statusIs('a/1', 'failed')
    await statusIs('b/1', 'failed')
    expect(world.jobs.get('a/1')?.code).toBe('NOT_FOUND')
    expect(world.taken).toEqual([])
  })

  test('that failed says so once the log can be reached, and with its first error', async () => {
    world.prepare('a/1')
    world.detach('a/1')
    const keeper = world.keeper()
    keeper.look()
    await vi.waitFor(() => expect(world.taken).toHaveLength(1), PATIENCE)
    let tries = 0
    world.refuses = what => what === 'jobs' && ++tries <= 2
    keeper.failed('a/1', toWire(new ShoalError('PLAN_INVALID', { reason: 'bad' }, 'a bad plan')))
    keeper.failed('a/1', toWire(new ShoalError('JOB_CANCELLED', { job: 'a/1', reason: 'x' })))
    await statusIs('a/1', 'failed')
    expect(tries).toBe(3)
    expect(world.jobs.get('a/1')).toMatchObject({ code: 'PLAN_INVALID', reason: 'a bad plan' })
    await vi.waitFor(() => expect(world.letGo).toEqual(['a/1']), PATIENCE)
  })

  test('that is cancelled has its end in the log before that is answered, whoever leads next', async () => {
    world.prepare('a/1')
    world.detach('a/1')
    const keeper = world.keeper()
    expect(await keeper.cancel('a/1', 'no more')).toBe(true)
    expect(world.jobs.get('a/1')).toMatchObject({ status: 'cancelled', reason: 'no more' })
    expect(await keeper.cancel('a/1', 'again')).toBe(false)
    expect(await keeper.cancel('s/7', 'an attached one')).toBe(false)
    await vi.waitFor(() => expect(world.namespace.list('/.jobs')).toEqual([]), PATIENCE)
    expect(world.taken).toEqual([])
  })

  test('keeps its result until it is taken, or its time is over', async () => {
    for (const jobId of ['a/1', 'b/1']) {
      world.prepare(jobId)
      world.finishPart(jobId, 0)
      world.finishPart(jobId, 1)
      world.detach(jobId, { kind: 'result', fold: 'rows', ttlMs: 5_000 })
    }
    const keeper = world.keeper()
    keeper.look()
    await statusIs('a/1', 'done')
    await statusIs('b/1', 'done')
    await keeper.taken('a/1')
    const left = (): string[] => world.namespace.list('/.jobs').map(({ name }) => name)
    await vi.waitFor(() => expect(left()).toEqual(['b-1']), PATIENCE)
    expect(world.namespace.list(partsDirectory('b/1'))).toHaveLength(2)
    world.epochMs += 5_000
    keeper.tick(500)
    await vi.waitFor(() => expect(left()).toEqual([]), PATIENCE)
  })
})

test('a directory that no job claims goes in the end, and not while its client may still hand the job over', async () => {
  world.prepare('a/1')
  const keeper = world.keeper()
  keeper.look()
  world.epochMs += DETACHED_KEEPER.orphanMs - 1
  keeper.look()
  expect(world.namespace.exists(partsDirectory('a/1'))).toBe(true)
  world.epochMs += 1
  keeper.tick(500)
  await vi.waitFor(() => expect(world.namespace.list('/.jobs')).toEqual([]), PATIENCE)
})
