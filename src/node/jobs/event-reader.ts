import { asPeerId, hasCode, ShoalError, sleep, type AbortOptions } from '../../base/index.ts'
import { compareJobEvents, JOB_EVENTS, jobEvents, parseJobEvents, type JobEvent } from '../../rdd/index.ts'
import { EVENT_READER } from '../config.ts'
import { listJobs, peerStatus } from '../log-messages.ts'
import type { MeshAccess } from '../mesh-access.ts'
import { collect } from '../relay.ts'
import type { EventCursor } from './event-log.ts'

export interface JobEventsOptions extends AbortOptions {
  /** Goes on with what happens, until the job has ended, whoever leads. @default false: what has happened so far */
  follow?: boolean
}

/** What is known of a job: the parts of all who led it, as one. */
export interface JobHistory {
  /** In order. */
  events: JobEvent[]
  /** Members (by id) that may have a part and did not answer. */
  silent: string[]
}

/** @throws JOB_UNKNOWN when nobody has heard of it. */
export async function jobHistory(
  access: MeshAccess,
  jobId: string,
  options: AbortOptions = {},
): Promise<JobHistory> {
  const { events, silent } = await gather(access, jobId, undefined, options)
  if (events.length === 0) await requireListed(access, jobId, options)
  return { events, silent }
}

/** Events as they are told, each once, in order. @throws JOB_UNKNOWN when nobody has heard of the job. */
export async function* followJobEvents(
  access: MeshAccess,
  jobId: string,
  options: JobEventsOptions = {},
): AsyncGenerator<JobEvent, void, undefined> {
  let after: EventCursor | undefined
  const news = function* (events: readonly JobEvent[]): Generator<JobEvent, boolean, undefined> {
    for (const event of events) {
      after = { term: event.term, seq: event.seq }
      yield event
    }
    return events.at(-1)?.type === 'job-ended'
  }
  for (;;) {
    const { events, leader } = await gather(access, jobId, after, options)
    if (events.length === 0 && after === undefined) await requireListed(access, jobId, options)
    if ((yield* news(events)) || options.follow !== true) return
    let from = leader
    while (from !== undefined) {
      const said = await ask(access, from, jobId, after, { ...options, waitMs: JOB_EVENTS.waitMaxMs })
      if (yield* news(said?.events ?? [])) return
      // Who leads no more, or does not answer, has no more to say than all together.
      if (said?.leads === undefined) from = undefined
      else if (said.events.length === 0 && !(await isRunning(access, jobId, options))) {
        yield* news((await gather(access, jobId, after, options)).events)
        return
      }
    }
    await sleep(EVENT_READER.pauseMs, options)
    if (!(await isRunning(access, jobId, options))) {
      yield* news((await gather(access, jobId, after, options)).events)
      return
    }
  }
}

/** Of the leader and of all who may have led before: voters first, and of the others so many as it is decent to ask. */
async function gather(
  access: MeshAccess,
  jobId: string,
  after: EventCursor | undefined,
  options: AbortOptions,
): Promise<JobHistory & { leader: string | undefined }> {
  const { leader, members } = (await access.callAttached(peerStatus, {}, options)).head
  const present = members.filter(({ state }) => state !== 'left')
  const rank = { leader: 0, voter: 1, learner: 2 }
  const asked = present
    .toSorted((a, b) => rank[a.role] - rank[b.role])
    .slice(0, EVENT_READER.peersMax)
    .map(({ peerId }) => peerId)
  const answers = await Promise.all(asked.map(peer => ask(access, peer, jobId, after, options)))
  const events: JobEvent[] = []
  const silent: string[] = []
  for (const [index, answer] of answers.entries()) {
    if (answer === undefined) silent.push(asked[index]!)
    else events.push(...answer.events)
  }
  events.sort(compareJobEvents)
  return { events, silent, leader }
}

/** All that the peer has after the cursor; undefined when it does not answer. */
async function ask(
  access: MeshAccess,
  peer: string,
  jobId: string,
  after: EventCursor | undefined,
  { waitMs, ...options }: AbortOptions & { waitMs?: number },
): Promise<{ events: JobEvent[]; leads: number | undefined } | undefined> {
  const events: JobEvent[] = []
  let cursor = after
  try {
    for (;;) {
      const head = {
        jobId,
        ...(cursor === undefined ? {} : { after: cursor }),
        ...(waitMs === undefined ? {} : { waitMs }),
      }
      const reply = await access.callPeer(asPeerId(peer), jobEvents, head, options)
      // A line is never cut, so one that is longer than the limit may come whole.
      const bytes = await collect(reply.body, 2 * JOB_EVENTS.replyBytesMax)
      const some = parseJobEvents(Buffer.from(bytes).toString('utf8'))
      events.push(...some)
      const last = some.at(-1)
      if (!reply.head.more || last === undefined) return { events, leads: reply.head.leads }
      cursor = { term: last.term, seq: last.seq }
    }
  } catch (error) {
    options.signal?.throwIfAborted()
    if (!(error instanceof ShoalError) || hasCode(error, 'BAD_MESSAGE')) throw error
    return undefined
  }
}

async function isRunning(access: MeshAccess, jobId: string, options: AbortOptions): Promise<boolean> {
  const { jobs } = (await access.callAttached(listJobs, {}, options)).head
  return jobs.some(job => job.jobId === jobId && job.status === 'running')
}

async function requireListed(access: MeshAccess, jobId: string, options: AbortOptions): Promise<void> {
  const { jobs } = (await access.callAttached(listJobs, {}, options)).head
  if (jobs.some(job => job.jobId === jobId)) return
  throw new ShoalError('JOB_UNKNOWN', { job: jobId }, `no job ${jobId} is known; \`shoal jobs\` lists them`)
}
