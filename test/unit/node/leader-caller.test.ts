import { expect, test } from 'vitest'
import { z } from 'zod'
import { message, seededRandom, ShoalError, systemClock, type PeerId } from '../../../src/base/index.ts'
import { LeaderCaller } from '../../../src/node/leader-caller.ts'
import { MemoryNetwork, type MemoryTransport } from '../../support/memory-transport.ts'

const ask = message({
  name: 'test.ask',
  from: 'everyone',
  request: z.object({}),
  reply: z.object({ by: z.string() }),
})

function mesh(leader: () => PeerId | undefined, listeners = new Set<() => void>()) {
  const network = new MemoryNetwork()
  const [self, other, third] = ['a', 'b', 'c'].map(name => network.join(name)) as [
    MemoryTransport,
    MemoryTransport,
    MemoryTransport,
  ]
  const caller = new LeaderCaller({
    transport: self,
    clock: systemClock,
    random: seededRandom(1),
    view: {
      leader,
      // Like the log: told at once, too.
      onLeader: listener => {
        listeners.add(listener)
        listener()
        return () => listeners.delete(listener)
      },
      others: () => [other.self, third.self],
      quorum: () => ({ term: 7, voters: ['a', 'b', 'c'] }),
    },
  })
  return { network, caller, other, third }
}

const notLeader = (leader?: PeerId): never => {
  throw new ShoalError('NOT_LEADER', leader === undefined ? { term: 7 } : { term: 7, leader })
}

test('a mesh in which nobody leads answers NO_QUORUM with term and voters, whatever its peers say of themselves', async () => {
  const { caller, other, third } = mesh(() => undefined)
  other.handle(ask, () => notLeader())
  third.handle(ask, () => notLeader())
  await expect(caller.call(ask, {}, { waitMs: 150 })).rejects.toMatchObject({
    code: 'NO_QUORUM',
    details: { term: 7, voters: ['a', 'b', 'c'] },
  })
})

test('a leader that is gone and has no successor is NO_QUORUM, not UNREACHABLE', async () => {
  const { caller, network, other } = mesh(() => other.self)
  network.kill('b')
  await expect(caller.call(ask, {}, { waitMs: 150 })).rejects.toMatchObject({ code: 'NO_QUORUM' })
})

test('a leader that may have heard the question is not NO_QUORUM: nobody knows the outcome', async () => {
  const { caller, network, other } = mesh(() => other.self)
  other.handle(ask, () => {
    setImmediate(() => network.kill('b'))
    return new Promise(() => {})
  })
  await expect(caller.call(ask, {}, { waitMs: 0 })).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
})

test('a change that a lost leader may have seen is not called unchanged when nobody leads afterwards', async () => {
  let leads = true
  const { caller, network, other, third } = mesh(() => (leads ? other.self : undefined))
  other.handle(ask, () => {
    setImmediate(() => {
      leads = false
      network.kill('b')
    })
    return new Promise(() => {})
  })
  third.handle(ask, () => notLeader())
  const options = { waitMs: 300, changes: true }
  await expect(caller.call(ask, {}, options)).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
})

test('the hint of a peer that does not lead is followed', async () => {
  const { caller, other, third } = mesh(() => other.self)
  other.handle(ask, () => notLeader(third.self))
  third.handle(ask, () => ({ by: 'c' }))
  expect(await caller.call(ask, {}, { waitMs: 2_000 })).toEqual({ by: 'c' })
})

test('a leader that stands still is not waited for once another one leads, and the next call goes there at once', async () => {
  const listeners = new Set<() => void>()
  let leader = 'b' as PeerId
  const { caller, other, third } = mesh(() => leader, listeners)
  const asked = Promise.withResolvers<AbortSignal>()
  other.handle(ask, ({ signal }) => {
    asked.resolve(signal)
    return new Promise(() => {})
  })
  third.handle(ask, () => ({ by: 'c' }))
  const answer = caller.call(ask, {})
  const signal = await asked.promise
  // The same leader again is no reason to give up.
  for (const listener of listeners) listener()
  expect(signal.aborted).toBe(false)
  leader = third.self
  for (const listener of listeners) listener()
  expect(await answer).toEqual({ by: 'c' })
  await expect.poll(() => signal.aborted).toBe(true)
  expect(listeners.size).toBe(0)
})

test('a leader that falls silent is not waited for, though nobody leads instead; a change that it may have seen is of unknown outcome', async () => {
  for (const changes of [false, true]) {
    const listeners = new Set<() => void>()
    let leader: PeerId | undefined = 'b' as PeerId
    const { caller, other, third } = mesh(() => leader, listeners)
    const asked = Promise.withResolvers<void>()
    other.handle(ask, () => {
      asked.resolve()
      return new Promise(() => {})
    })
    third.handle(ask, () => notLeader())
    // By itself each try would wait for ten seconds.
    const answer = caller.call(ask, {}, { waitMs: 300, changes, signal: AbortSignal.timeout(5_000) })
    answer.catch(() => {})
    await asked.promise
    leader = undefined
    for (const listener of listeners) listener()
    await expect(answer).rejects.toMatchObject({
      code: changes ? expect.stringMatching(/^(UNKNOWN_OUTCOME|TIMEOUT)$/) : 'NO_QUORUM',
    })
    expect(listeners.size).toBe(0)
  }
})

test('a peer that is only guessed to know the leader, and is silent, does not hold up the answer', async () => {
  const { caller, other, third } = mesh(() => undefined)
  for (const silent of [other, third]) silent.handle(ask, () => new Promise(() => {}))
  const options = { waitMs: 300, signal: AbortSignal.timeout(5_000) }
  await expect(caller.call(ask, {}, options)).rejects.toMatchObject({ code: 'NO_QUORUM' })
  // It may lead, and carry the change out later.
  const change = caller.call(ask, {}, { ...options, changes: true })
  await expect(change).rejects.toMatchObject({ code: 'TIMEOUT' })
})

test('a peer that another one calls the leader, and is silent, does not hold up the answer either', async () => {
  const { caller, other, third } = mesh(() => undefined)
  other.handle(ask, () => notLeader(third.self))
  third.handle(ask, () => new Promise(() => {}))
  const options = { waitMs: 300, signal: AbortSignal.timeout(5_000) }
  await expect(caller.call(ask, {}, options)).rejects.toMatchObject({ code: 'NO_QUORUM' })
})
