import { afterEach, beforeEach, expect, test } from 'vitest'
import { bodyOf, seededRandom, ShoalError, systemClock } from '../../../src/base/index.ts'
import { LeaderCaller } from '../../../src/node/leader-caller.ts'
import { collect, Relay, relayToLeader, relayToPeer } from '../../../src/node/relay.ts'
import { cancelJob, fetchResult, jobUpdate, runTasks, submitJob } from '../../../src/rdd/index.ts'
import { MemoryNetwork, type MemoryTransport } from '../../support/memory-transport.ts'

/** A client behind peer `relay`; `leader` leads; `executor` has results. */
class Scene {
  readonly network = new MemoryNetwork()
  readonly relay = this.network.join('relay')
  readonly leader = this.network.join('leader')
  readonly executor = this.network.join('executor')
  readonly client = this.network.join('client', 'client')
  readonly relays = new Map<MemoryTransport, Relay>()

  constructor() {
    for (const transport of [this.relay, this.executor]) {
      const leader = new LeaderCaller({
        transport,
        clock: systemClock,
        random: seededRandom(1),
        view: {
          leader: () => this.leader.self,
          others: () => [],
          quorum: () => ({ term: 1, voters: [] }),
        },
      })
      const relay = new Relay({ transport, leader })
      relay.start()
      this.relays.set(transport, relay)
    }
  }
}

let scene: Scene

beforeEach(() => {
  scene = new Scene()
})

afterEach(() => {
  for (const name of ['relay', 'leader', 'executor', 'client']) scene.network.kill(name)
})

test('what a client asks the leader arrives with its body, and the answer comes back', async () => {
  let plan = ''
  scene.leader.handle(submitJob, async ({ head, body, from }) => {
    plan = `${head.jobId} from ${from}: ${Buffer.from(await collect(body, 100)).toString()}`
    return { term: 7 }
  })
  const requester = { client: 'client', relay: 'relay', epoch: 0 }
  const head = { jobId: 's/1', name: 'n', session: 's', planHash: 'h', requester, accepted: [] }
  const { head: reply } = await scene.client.call(
    scene.relay.self,
    relayToLeader,
    { type: submitJob.name, head },
    { body: bodyOf(Buffer.from('the '), Buffer.from('plan')) },
  )
  expect(reply.head).toEqual({ term: 7 })
  expect(plan).toBe('s/1 from relay: the plan')
})

test('the leader’s refusal reaches the client with its code', async () => {
  scene.leader.handle(cancelJob, ({ head }) => {
    throw new ShoalError('JOB_UNKNOWN', { job: head.jobId }, 'no such job')
  })
  const asked = scene.client.call(scene.relay.self, relayToLeader, {
    type: cancelJob.name,
    head: { jobId: 's/9', reason: 'stop' },
  })
  await expect(asked).rejects.toMatchObject({ code: 'JOB_UNKNOWN', details: { job: 's/9' } })
})

test('a sealed result streams through the relay to the client, all of it', async () => {
  const chunks = Array.from({ length: 40 }, (_, i) => new Uint8Array(10_000).fill(i))
  scene.executor.handle(fetchResult, async () => ({
    head: { sizeBytes: 400_000, checksum: 1 },
    body: bodyOf(...chunks),
  }))
  const { head, body } = await scene.client.call(scene.relay.self, relayToPeer, {
    peer: 'executor',
    type: fetchResult.name,
    head: { jobId: 's/1', partition: 3 },
  })
  expect(head.head).toEqual({ sizeBytes: 400_000, checksum: 1 })
  expect(Buffer.from(await collect(body, 400_000)).equals(Buffer.concat(chunks))).toBe(true)
})

test('an executor that dies in the middle of a result ends the client’s stream with an error', async () => {
  const half = Promise.withResolvers<void>()
  scene.executor.handle(fetchResult, async () => ({
    head: { sizeBytes: 100, checksum: 1 },
    body: (async function* () {
      yield new Uint8Array(50)
      half.resolve()
      await new Promise(() => {})
    })(),
  }))
  const { body } = await scene.client.call(scene.relay.self, relayToPeer, {
    peer: 'executor',
    type: fetchResult.name,
    head: { jobId: 's/1', partition: 3 },
  })
  const read = collect(body, 100)
  read.catch(() => {})
  await half.promise
  scene.network.kill('executor')
  await expect(read).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
})

test('only what is meant for clients is relayed', async () => {
  const { client, relay } = scene
  const toLeader = (type: string) => client.call(relay.self, relayToLeader, { type, head: {} })
  const toPeer = (type: string) => client.call(relay.self, relayToPeer, { peer: 'executor', type, head: {} })
  for (const asked of [toLeader(runTasks.name), toLeader('toString'), toPeer(submitJob.name)])
    await expect(asked).rejects.toMatchObject({ code: 'UNKNOWN_MESSAGE' })
})

test('what the mesh tells a requester reaches it through its relay, from that peer itself and from any other', async () => {
  const heard: string[] = []
  scene.client.handle(jobUpdate, ({ from, head }) => {
    heard.push(`${head.state} from ${from}`)
    return {}
  })
  const to = { client: 'client', relay: 'relay', epoch: 0 }
  const update = { jobId: 's/1', epoch: 0, term: 1, state: 'done' } as const
  for (const transport of [scene.relay, scene.executor])
    expect(await scene.relays.get(transport)!.deliver(to, jobUpdate, update)).toEqual({})
  expect(heard).toEqual(['done from relay', 'done from relay'])
})

test('a client that is gone is an error to whoever has something for it', async () => {
  scene.network.kill('client')
  const to = { client: 'client', relay: 'relay', epoch: 0 }
  const update = { jobId: 's/1', epoch: 0, term: 1, state: 'done' } as const
  for (const transport of [scene.relay, scene.executor]) {
    await expect(scene.relays.get(transport)!.deliver(to, jobUpdate, update)).rejects.toMatchObject({
      code: 'UNREACHABLE',
    })
  }
})

test('a body over the limit is refused before it is kept', async () => {
  let pulled = 0
  const endless = (async function* () {
    for (;;) {
      pulled += 1
      yield new Uint8Array(1_000)
    }
  })()
  await expect(collect(endless, 10_000)).rejects.toMatchObject({ code: 'TOO_LARGE' })
  expect(pulled).toBe(11)
})
