import { createHash } from 'node:crypto'
import { beforeEach, expect, test } from 'vitest'
import { bodyOf, silentLogger } from '../../../src/base/index.ts'
import { JobLeader } from '../../../src/node/jobs/job-leader.ts'
import { JobService } from '../../../src/node/jobs/job-service.ts'
import { encodePlan, submitJob } from '../../../src/rdd/index.ts'
import { MemoryNetwork, type MemoryTransport } from '../../support/memory-transport.ts'

const PLAN = encodePlan({
  version: 1,
  nodes: [
    {
      op: 'parallelize',
      partitions: 1,
      fingerprint: 'f',
      cached: false,
      label: 'rows',
      slices: [new Uint8Array(3_000_000)],
    },
  ],
  closures: [],
  action: { kind: 'count' },
})

let client: MemoryTransport
let peer: MemoryTransport
let service: JobService

beforeEach(() => {
  const network = new MemoryNetwork()
  client = network.join('client', 'client')
  peer = network.join('peer')
  service = new JobService({ transport: peer, notLeader: () => ({ term: 5 }) })
  service.start()
})

function lead(): JobLeader {
  const leader = new JobLeader({
    transport: peer,
    term: 5,
    holdersOf: () => [],
    livePeers: () => [],
    record: () => Promise.resolve(),
    listedAsRunning: () => [],
    events: { append: () => {}, letGo: () => {} },
    deliver: () => Promise.reject(new Error('nobody there')),
    clock: { nowMs: () => 0 },
    log: silentLogger,
  })
  service.lead(leader)
  return leader
}

async function submit(
  plan: Uint8Array,
  planHash = createHash('sha256').update(PLAN).digest('hex'),
): Promise<number> {
  const requester = { client: 'client', relay: 'peer', epoch: 0 }
  const head = { jobId: 's/1', name: 'job', session: 's', planHash, requester, accepted: [] }
  const { head: reply } = await client.call(peer.self, submitJob, head, { body: bodyOf(plan) })
  return reply.term
}

test('a plan that came whole is taken, in the term that is answered', async () => {
  const leader = lead()
  expect(await submit(PLAN)).toBe(5)
  expect(leader.list()).toHaveLength(1)
  service.lead(undefined)
})

test('a plan that differs from its hash in one byte is refused, and so is one that is none', async () => {
  const leader = lead()
  const bent = Uint8Array.from(PLAN)
  bent[bent.length >> 1]! ^= 1
  await expect(submit(bent)).rejects.toMatchObject({ code: 'PLAN_INVALID' })
  const none = Buffer.from('no plan')
  const hash = createHash('sha256').update(none).digest('hex')
  await expect(submit(none, hash)).rejects.toMatchObject({ code: 'BAD_MESSAGE' })
  expect(leader.list()).toEqual([])
  service.lead(undefined)
})

test('a peer that does not lead says so', async () => {
  await expect(submit(PLAN)).rejects.toMatchObject({ code: 'NOT_LEADER', details: { term: 5 } })
})
