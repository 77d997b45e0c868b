import { describe, expect, test } from 'vitest'
import { asPeerId, ShoalError } from '../../../../src/base/index.ts'
import { ResultOffers } from '../../../../src/node/executor/result-offers.ts'
import type { Deliver } from '../../../../src/node/relay.ts'
import { JOBS, type ResultOffer } from '../../../../src/rdd/index.ts'

const owner = { requester: { client: 'client', relay: 'relay', epoch: 0 } }
const offerOf = (partition: number, inline = new Uint8Array(8)): ResultOffer => ({
  id: { stage: 0, partition, attempt: 0, term: 1 },
  checksum: 1,
  sizeBytes: inline.byteLength,
  rows: 1,
  inline,
})

/** Offers whose requester takes even partitions; keeps which partitions came in one message. */
function scene(answer?: () => boolean[]): { offers: ResultOffers; messages: number[][] } {
  const messages: number[][] = []
  const deliver: Deliver = (_to, type, head) => {
    const { results } = head as { results: ResultOffer[] }
    messages.push(results.map(({ id }) => id.partition))
    const taken = answer?.() ?? results.map(({ id }) => id.partition % 2 === 0)
    return Promise.resolve(type.reply.parse({ taken }))
  }
  return { offers: new ResultOffers(asPeerId('executor'), deliver), messages }
}

describe('offers of results', () => {
  test('what ends while more is computed goes with the last, and each hears its own answer', async () => {
    const { offers, messages } = scene()
    const answers = [
      offers.offer(owner, 's/1', offerOf(0), true),
      offers.offer(owner, 's/2', offerOf(7), false),
      offers.offer(owner, 's/1', offerOf(1), true),
      offers.offer(owner, 's/1', offerOf(2), false),
    ]
    expect(await Promise.all(answers)).toEqual([true, false, false, true])
    expect(messages).toEqual([[7], [0, 1, 2]])
  })

  test('nobody waits long for others: it is offered without them', async () => {
    const { offers, messages } = scene()
    expect(await offers.offer(owner, 's/1', offerOf(4), true)).toBe(true)
    expect(messages).toEqual([[4]])
  })

  test('no message has more results, or more bytes, than a head may have', async () => {
    const many = scene()
    await Promise.all(
      Array.from({ length: 2 * JOBS.offersMax }, (_, partition) =>
        many.offers.offer(owner, 's/1', offerOf(partition), true),
      ),
    )
    expect(many.messages.map(({ length }) => length)).toEqual([JOBS.offersMax, JOBS.offersMax])
    const large = scene()
    const bytes = new Uint8Array(JOBS.inlineResultBytes)
    await Promise.all(
      Array.from({ length: 8 }, (_, partition) =>
        large.offers.offer(owner, 's/1', offerOf(partition, bytes), true),
      ),
    )
    expect(large.messages.map(({ length }) => length)).toEqual([4, 4])
  })

  test('a requester that cannot be reached, or answers for another number, fails all of the message', async () => {
    const gone = new ResultOffers(asPeerId('executor'), () =>
      Promise.reject(new ShoalError('UNREACHABLE', { peer: 'relay' })),
    )
    const lost = [gone.offer(owner, 's/1', offerOf(0), true), gone.offer(owner, 's/1', offerOf(1), false)]
    for (const offer of lost) await expect(offer).rejects.toMatchObject({ code: 'UNREACHABLE' })
    const short = scene(() => [true])
    const both = [
      short.offers.offer(owner, 's/1', offerOf(0), true),
      short.offers.offer(owner, 's/1', offerOf(1), false),
    ]
    for (const offer of both) await expect(offer).rejects.toMatchObject({ code: 'BAD_MESSAGE' })
  })
})
