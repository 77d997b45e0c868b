import { createHash, type Hash } from 'node:crypto'
import { bodyOf, fromWire, invariant, ShoalError, type PeerId, type Transport } from '../../base/index.ts'
import {
  cancelJob,
  closeJob,
  dropBroadcast,
  detachJob,
  fetchPlan,
  JOBS,
  listKept,
  NAME_MAX,
  partitionsKept,
  renewLease,
  resultLost,
  resultTaken,
  submitJob,
  takeResult,
  tasksEnded,
  unpersist,
} from '../../rdd/index.ts'
import { collect } from '../relay.ts'
import type { DetachedKeeper } from './detached-keeper.ts'
import type { JobLeader } from './job-leader.ts'

/** Answers for the leader of jobs while this peer is it, and says who is while it is not. */
export class JobService {
  readonly #transport: Transport
  readonly #notLeader: () => { leader?: PeerId; term: number }
  #leader: JobLeader | undefined

  constructor(options: { transport: Transport; notLeader: () => { leader?: PeerId; term: number } }) {
    this.#transport = options.transport
    this.#notLeader = options.notLeader
  }

  get leading(): JobLeader | undefined {
    return this.#leader
  }

  /** The term began (its no-op is committed), or ended. */
  lead(leader: JobLeader | undefined): void {
    this.#leader?.stop()
    this.#leader = leader
    leader?.start()
  }

  start(): void {
    const transport = this.#transport
    transport.handle(submitJob, async ({ head, body }) => {
      this.#required()
      const hash = createHash('sha256')
      const plan = await collect(hashed(body, hash), JOBS.planBytesMax)
      if (hash.digest('hex') !== head.planHash) {
        throw new ShoalError('PLAN_INVALID', {
          reason: 'the plan that arrived is not the plan that was sent',
        })
      }
      await this.#required().readyFor(plan)
      const warnings = await this.#required().checkPackages(head)
      const leader = this.#required()
      leader.submit(head, plan)
      return { term: leader.term, ...(warnings.length > 0 && { warnings }) }
    })
    transport.handle(cancelJob, async ({ head }) => {
      await this.#required().cancel(head.jobId, head.reason)
      return {}
    })
    transport.handle(detachJob, async ({ head: { requester, ...head } }) => {
      const { client, relay } = requester
      const job = { ...head, name: head.name.slice(0, NAME_MAX), requester: client, relay }
      const result = await this.#detached().accept(job)
      if (!result.ok) throw fromWire(result.error)
      return {}
    })
    transport.handle(takeResult, async ({ head }) => {
      await this.#detached().taken(head.jobId)
      return {}
    })
    transport.handle(closeJob, async ({ head }) => {
      const events = await this.#required().close(head.jobId)
      return events.length === 0 ? {} : { events }
    })
    transport.handle(resultLost, ({ head }) => {
      this.#required().resultLost(head.jobId, head.partition, head.executor)
      return {}
    })
    transport.handle(renewLease, ({ head: { session, jobs, begun } }) => ({
      unknown: this.#required().renew(session, jobs, begun),
    }))
    transport.handle(dropBroadcast, ({ head }) => {
      this.#required().dropBroadcast(head)
      return {}
    })
    transport.handle(unpersist, ({ head }) => {
      this.#required().unpersist(head.fingerprints)
      return {}
    })
    transport.handle(listKept, ({ head }) => ({
      kept: this.#required().keptListing(head.fingerprints),
    }))
    transport.handle(fetchPlan, ({ head }) => ({
      head: {},
      body: bodyOf(this.#required().planOf(head.jobId, head.planHash)),
    }))
    transport.handle(tasksEnded, ({ from, head: { term, tasks, kept } }) => {
      this.#required(term).tasksEnded(from, tasks, kept)
      return {}
    })
    transport.handle(partitionsKept, ({ from, head }) => {
      this.#required(head.term).keptPartitions(from, head.kept)
      return {}
    })
    transport.handle(resultTaken, ({ head }) => {
      this.#required(head.term).resultTaken(head.jobId, head.partition)
      return {}
    })
  }

  #detached(): DetachedKeeper {
    const { detached } = this.#required()
    invariant(detached !== undefined, 'a peer that leads keeps detached jobs')
    return detached
  }

  /** @param atLeast term that the caller has heard of: who leads only an earlier one, leads no more and knows it not yet */
  #required(atLeast = 0): JobLeader {
    if (this.#leader !== undefined && this.#leader.term >= atLeast) return this.#leader
    const hint = this.#notLeader()
    throw new ShoalError('NOT_LEADER', hint, `this peer does not lead (term ${hint.term})`)
  }
}

/** Piece by piece as it comes: a large plan hashed at once would hold up heartbeats. */
async function* hashed(body: AsyncIterable<Uint8Array>, hash: Hash): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of body) {
    hash.update(chunk)
    yield chunk
  }
}
