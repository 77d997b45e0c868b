import { ShoalError, type PeerId } from '../../base/index.ts'
import { JOBS, resultReady, type Requester, type ResultOffer } from '../../rdd/index.ts'
import { EXECUTOR } from '../config.ts'
import type { Deliver } from '../relay.ts'

interface Gathered {
  owner: { requester: Requester }
  offers: { offer: ResultOffer; answer: PromiseWithResolvers<boolean> }[]
  inlineBytes: number
  timer: NodeJS.Timeout | undefined
}

/**
 * Tells requesters which results there are. What ends at about the same time goes together: of a job of many tiny tasks
 * the messages would cost more than the tasks.
 */
export class ResultOffers {
  readonly #self: PeerId
  readonly #deliver: Deliver
  /** By job; bounded by the tasks that the leader lets this executor have. */
  readonly #gathered = new Map<string, Gathered>()

  constructor(self: PeerId, deliver: Deliver) {
    this.#self = self
    this.#deliver = deliver
  }

  /**
   * True when the requester has it; rejects when it cannot be reached.
   * @param owner its requester may move until the offer is on its way
   * @param more other tasks of the job are computed here right now: a moment is waited for them
   */
  offer(owner: { requester: Requester }, jobId: string, offer: ResultOffer, more: boolean): Promise<boolean> {
    let gathered = this.#gathered.get(jobId)
    if (gathered === undefined) {
      gathered = { owner, offers: [], inlineBytes: 0, timer: undefined }
      this.#gathered.set(jobId, gathered)
    }
    const answer = Promise.withResolvers<boolean>()
    gathered.offers.push({ offer, answer })
    gathered.inlineBytes += offer.inline?.byteLength ?? 0
    const full =
      gathered.offers.length >= JOBS.offersMax ||
      gathered.inlineBytes > EXECUTOR.offerBytesMax - JOBS.inlineResultBytes
    if (full || !more) void this.#send(jobId, gathered)
    else gathered.timer ??= setTimeout(() => void this.#send(jobId, gathered), EXECUTOR.offerGatherMs)
    return answer.promise
  }

  async #send(jobId: string, { owner, offers, timer }: Gathered): Promise<void> {
    clearTimeout(timer)
    this.#gathered.delete(jobId)
    const { requester } = owner
    try {
      const { taken } = await this.#deliver(requester, resultReady, {
        jobId,
        epoch: requester.epoch,
        executor: this.#self,
        results: offers.map(({ offer }) => offer),
      })
      if (taken.length !== offers.length)
        throw new ShoalError('BAD_MESSAGE', {
          type: resultReady.name,
          reason: `${offers.length} results were offered and ${taken.length} answered for`,
        })
      for (const [index, { answer }] of offers.entries()) answer.resolve(taken[index]!)
    } catch (error) {
      for (const { answer } of offers) answer.reject(error)
    }
  }
}
