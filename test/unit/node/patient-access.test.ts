import { expect, test } from 'vitest'
import { z } from 'zod'
import { message, ShoalError, type MessageType, type Reply } from '../../../src/base/index.ts'
import type { MeshAccess } from '../../../src/node/mesh-access.ts'
import { patient } from '../../../src/node/patient-access.ts'

const ask = message({
  name: 'test.ask',
  from: 'everyone',
  request: z.object({}),
  reply: z.object({ tries: z.number() }),
})

/** A mesh that answers the given errors first. */
function answering(...errors: ShoalError[]): { access: MeshAccess; tries: () => number } {
  let tries = 0
  const answer = (): { tries: number } => {
    const error = errors[tries++]
    if (error !== undefined) throw error
    return { tries }
  }
  const never = (): never => {
    throw new Error('not asked in this test')
  }
  const access: MeshAccess = {
    requester: never,
    callLeader: async <Request, Head>(type: MessageType<Request, Head>) => type.reply.parse(answer()),
    callPeer: never,
    async callAttached<Request, Head>(type: MessageType<Request, Head>): Promise<Reply<Head>> {
      return { head: type.reply.parse(answer()), body: (async function* () {})() }
    },
    handle: never,
    onLeaderChange: never,
    onReattached: never,
  }
  return { access, tries: () => tries }
}

const noQuorum = (): ShoalError => new ShoalError('NO_QUORUM', { term: 3, voters: ['a'] })

test('a call that no leader heard is put again until one does, and says once that it waits', async () => {
  const { access, tries } = answering(noQuorum(), noQuorum())
  let told = 0
  const calm = patient(access, { onWaiting: () => told++ })
  expect(await calm.callLeader(ask, {})).toEqual({ tries: 3 })
  expect(tries()).toBe(3)
  expect(told).toBe(1)
  const { access: again } = answering(noQuorum())
  expect((await patient(again).callAttached(ask, {})).head).toEqual({ tries: 2 })
})

test('what may have happened is not put again', async () => {
  const { access, tries } = answering(new ShoalError('UNKNOWN_OUTCOME', { what: 'mkdir' }))
  await expect(patient(access).callAttached(ask, {})).rejects.toMatchObject({ code: 'UNKNOWN_OUTCOME' })
  expect(tries()).toBe(1)
})

test('nor is a call with a stream, whose beginning may be gone, nor any without patience', async () => {
  const { access, tries } = answering(noQuorum(), noQuorum())
  const body = (async function* () {})()
  await expect(patient(access).callAttached(ask, {}, { body })).rejects.toMatchObject({ code: 'NO_QUORUM' })
  await expect(patient(access, { waitMs: 0 }).callLeader(ask, {})).rejects.toMatchObject({
    code: 'NO_QUORUM',
  })
  expect(tries()).toBe(2)
})
