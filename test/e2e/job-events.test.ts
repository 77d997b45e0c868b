import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { viewJob, type JobEvent, type JobView, type Mesh } from '../../src/node/index.ts'
import { shoal } from '../support/cli-process.ts'
import { useCluster } from '../support/use-cluster.ts'
import { waitFor } from '../support/wait-for.ts'

const cluster = useCluster(4)

async function idOf(mesh: Mesh, name: string): Promise<string> {
  return await waitFor(`the job ${name} to be listed`, async () => {
    return (await mesh.jobs()).find(job => job.name === name)?.jobId
  })
}

async function eventsOf(mesh: Mesh, jobId: string): Promise<JobEvent[]> {
  const events: JobEvent[] = []
  for await (const event of mesh.jobEvents(jobId)) events.push(event)
  return events
}

function viewed(jobId: string, events: readonly JobEvent[]): JobView {
  const view = viewJob(jobId, events)
  expect(view.gaps).toEqual([])
  return view
}

test('the events of a job say what its stages, tasks and peers did; a second one like it skips what is there', async () => {
  const [mesh, other] = await cluster().clients(2)
  const heard: JobEvent[] = []
  using _ = mesh!.onJobEvent(event => heard.push(event))
  const groups = mesh!
    .range(0, 60_000, 1, 6)
    .map(n => [n % 6 === 0 ? n : -1, n] as const)
    .groupByKey(5)
  expect(await groups.count({ name: 'skewed' })).toBe(10_001)
  const jobId = heard.find(event => event.type === 'submitted')!.jobId
  // Any client may ask, through any peer.
  const events = await waitFor('the end of the job', async () => {
    const all = await eventsOf(other!, jobId)
    return all.at(-1)?.type === 'job-ended' ? all : undefined
  })
  const view = viewed(jobId, events)
  expect(view).toMatchObject({ name: 'skewed', action: 'count', status: 'done', running: [], failed: 0 })
  expect(view.stages.map(({ tasks, done, started, state }) => [tasks, done, started, state])).toEqual([
    [6, 6, 6, 'done'],
    [5, 5, 5, 'done'],
  ])
  const [maps, reduces] = view.stages
  expect(maps!.sums).toMatchObject({ inRecords: 60_000, outRecords: 60_000 })
  expect(reduces!.sums.inRecords).toBe(60_000)
  expect(maps!.sums.shuffleWriteBytes).toBeGreaterThan(50_000)
  expect(reduces!.sums.shuffleReadBytes).toBe(maps!.sums.shuffleWriteBytes)
  expect(maps!.label).toMatch(/range → map/)
  const ids = new Set(cluster().peers.map(({ id }) => id))
  expect(view.peers.every(({ peer }) => ids.has(peer))).toBe(true)
  expect(view.peers.reduce((sum, { done }) => sum + done, 0)).toBe(11)
  // One key has 50,000 of the values: its partition is named, to whoever listens too.
  expect(reduces!.skew).toMatchObject([{ of: 'records', largestGroup: 50_000, largestKey: '-1' }])
  await waitFor('the requester to be told of the skew', () =>
    heard.find(event => event.type === 'stage-ended' && event.skew !== undefined),
  )

  expect(await groups.count({ name: 'again' })).toBe(10_001)
  const again = await idOf(mesh!, 'again')
  const second = viewed(again, await eventsOf(mesh!, again))
  expect(second.stages.map(({ state, started }) => [state, started])).toEqual([
    ['skipped', 0],
    ['done', 5],
  ])

  const peer = cluster().peers[1]!
  const place = ['--peer', peer.addresses[0]!, '--key', join(peer.dataDirectory, 'mesh.key')]
  const run = async (...args: string[]): Promise<string> => {
    const ran = await shoal([...args, ...place], { cwd: cluster().directory })
    expect(ran, ran.stderr).toMatchObject({ code: 0 })
    return ran.stdout
  }
  const text = await run('job', jobId, '--timeline')
  expect(text).toMatch(/stage 1: partition \d has \d+(\.\d)? times the median records/)
  expect(text).toMatch(/^timeline\nstage 0 /m)
  // What is printed as JSON lines is the stream itself.
  const lines = (await run('job', jobId, '--follow', '--json')).trim().split('\n')
  expect(lines.map(line => JSON.parse(line) as unknown)).toEqual(events)
})

test('an executor and the leader are killed: whoever follows sees all of it, and what the dead leader kept is there again with it', async () => {
  const leader = await cluster().leader()
  const { members } = await leader.status()
  const isVoter = (id: string): boolean =>
    members.some(({ peerId, role }) => peerId === id && role === 'voter')
  // Of four peers three vote: the fourth may go besides the leader.
  const victim = cluster()
    .running()
    .find(({ id }) => id !== leader.id && !isVoter(id))!
  const mesh = await cluster().connect(
    cluster()
      .running()
      .find(({ id }) => isVoter(id)),
  )
  const busy = mesh
    .range(0, 48, 1, 48)
    .map(n => {
      const untilMs = Date.now() + 150
      while (Date.now() < untilMs);
      return n
    })
    .map(n => [n % 4, n] as const)
    .reduceByKey((a, b) => a + b, 4)
    .values()
    .sum({ name: 'hurt' })
  const jobId = await idOf(mesh, 'hurt')
  const followed: JobEvent[] = []
  let done = 0
  let isVictimKilled = false
  let isLeaderKilled = false
  for await (const event of mesh.jobEvents(jobId, { follow: true })) {
    followed.push(event)
    if (event.type === 'task-ended' && event.outcome === 'done') done += 1
    if (done >= 6 && !isVictimKilled) {
      isVictimKilled = true
      await victim.kill()
    }
    if (done >= 12 && !isLeaderKilled && followed.some(({ type }) => type === 'executor-lost')) {
      isLeaderKilled = true
      await leader.kill()
    }
  }
  expect(await busy).toBe((48 * 47) / 2)
  expect(isLeaderKilled).toBe(true)
  expect(followed.at(-1)).toMatchObject({ type: 'job-ended', status: 'done' })
  const terms = [...new Set(followed.map(({ term }) => term))]
  expect(terms.length).toBeGreaterThanOrEqual(2)
  expect(terms).toEqual(terms.toSorted((a, b) => a - b))
  const keys = followed.map(({ term, seq }) => `${term} ${seq}`)
  expect(new Set(keys).size).toBe(keys.length)
  const view = viewJob(jobId, followed)
  expect(view.leaders[0]!.peer).toBe(leader.id)
  expect(view.stages.map(({ state }) => state)).toEqual(['done', 'done'])
  expect(view.peers.find(({ peer }) => peer === victim.id)).toMatchObject({ isGone: true })
  expect(followed.filter(event => event.type === 'job-started').at(-1)).toMatchObject({ resumed: true })

  const history = await mesh.jobHistory(jobId)
  expect(history.silent.toSorted()).toEqual([leader.id, victim.id].toSorted())
  expect(history.events.every(({ term }) => term !== terms[0])).toBe(true)
  await leader.start()
  const whole = await waitFor('the old leader to answer', async () => {
    const now = await mesh.jobHistory(jobId)
    return now.silent.includes(leader.id) ? undefined : now
  })
  // What it had not yet written is lost, and nothing else.
  expect(whole.events.filter(({ term }) => term === terms[0]).length).toBeGreaterThan(10)
  expect(viewJob(jobId, whole.events)).toMatchObject({ status: 'done', gaps: [] })
  expect(readdirSync(join(leader.dataDirectory, 'events'))).toContain(`${jobId.replace('/', '-')}.jsonl`)
  await victim.start()
})
