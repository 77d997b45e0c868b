import { below, pick, seededRandom } from '../../../src/base/index.ts'
import { SCHEDULER } from '../../../src/rdd/config.ts'
import { check } from '../check.ts'
import { Trace } from '../trace.ts'
import { JobWorld, type JobMutant } from './job-world.ts'

export interface JobSeedResult {
  seed: number
  traceHash: string
  events: number
  simulatedMs: number
  jobs: number
  done: number
  failed: number
  /** Second attempts at slow tasks. */
  speculated: number
  failure: Error | undefined
  trace: readonly string[]
}

type Act =
  | 'detach'
  | 'blackout'
  | 'crash'
  | 'crash-leader'
  | 'start'
  | 'depose'
  | 'cut'
  | 'close'
  | 'cancel'
  | 'begin'

const PROFILES: Record<string, Partial<Record<Act, number>>> = {
  calm: { begin: 1 },
  executors: { crash: 3, start: 4, begin: 2 },
  leaders: { 'crash-leader': 2, depose: 2, start: 3, begin: 2 },
  /** Map outputs that change are lost often enough for it to matter. */
  whims: { crash: 4, start: 4, begin: 4 },
  links: { cut: 3, close: 3, begin: 2 },
  /** Nobody waits for these jobs, and all peers are down at times. */
  detached: { detach: 4, blackout: 1, 'crash-leader': 1, crash: 2, start: 5, depose: 1 },
  everything: { crash: 2, 'crash-leader': 1, start: 4, depose: 1, cut: 2, close: 2, cancel: 1, begin: 3 },
}

/** Mean time between two acts. */
const EVERY_MS = 500
/** Shorter than a lease by far, so that a requester that lives keeps its jobs. */
const CUT_MS = 4_000
/** After healing, every job must have ended. */
const END_MS = 60_000
/** Two renewals and some: a leader that did not hear of the end of a job then knows from the list of those that go on. */
const FORGET_MS = SCHEDULER.leaseMs
/** After the requester died, nothing of it may be left: its lease, one inventory that a leader missed, a tick. */
const CLEAN_MS = 3 * SCHEDULER.leaseMs

/** One run: trouble while jobs run, then peace until all have ended, then the requester's death, then nothing is left. */
export function runJobSeed(
  seed: number,
  options: { mutant?: JobMutant; keepTrace?: number } = {},
): JobSeedResult {
  const trace = new Trace(options.keepTrace ?? 0)
  const world = new JobWorld(seed, trace, options.mutant ?? {})
  let failure: Error | undefined
  try {
    run(world, seed)
  } catch (error) {
    failure = error instanceof Error ? error : new Error(String(error))
  }
  const jobs = [...world.requester.jobs.values()]
  return {
    seed,
    traceHash: trace.hash,
    events: trace.count,
    simulatedMs: world.time.nowMs,
    jobs: jobs.length,
    done: jobs.filter(({ state }) => state === 'done').length,
    failed: jobs.filter(({ state }) => state === 'failed').length,
    speculated: world.speculated,
    failure,
    trace: trace.lines,
  }
}

function run(world: JobWorld, seed: number): void {
  const { time, requester, peers } = world
  const leaders = () => peers.flatMap(({ leading }) => (leading === undefined ? [] : [leading]))
  // What is done to the world has a source of chance of its own.
  const random = seededRandom(seed ^ 0x5eed)
  const profile = pick(random, Object.keys(PROFILES))!
  const weights = PROFILES[profile]!
  if (profile !== 'calm') {
    const slow = random.next() * 0.2
    world.network.faults = { duplication: random.next() * 0.1, slow, maxMs: 10, slowMs: 600 }
  }
  if (profile === 'whims') world.requester.whims = 0.6
  const acts = Object.entries(weights).flatMap(([act, weight]) => new Array<Act>(weight).fill(act as Act))
  const troubleMs = 4_000 + below(random, 10_000)
  const jobsMax = 2 + below(random, 8)
  requester.begin()
  const act = (): void => {
    if (time.nowMs >= troubleMs) return
    const chosen = pick(random, acts)!
    if (chosen !== 'begin' || requester.jobs.size < jobsMax) perform(world, chosen)
    time.after(EVERY_MS * (0.3 + 1.4 * random.next()), act)
  }
  time.after(EVERY_MS * random.next(), act)
  const dies = random.next() < 0.15
  if (dies) time.after(troubleMs * random.next(), () => requester.quit())
  time.runUntil(troubleMs)
  world.heal()
  const { detached } = world
  check(
    time.runUntilTrue(() => detached.running().length === 0, END_MS),
    `${detached
      .running()
      .map(({ jobId }) => jobId)
      .join(', ')} did not end`,
  )
  detached.verify()
  if (!dies) {
    const ended = time.runUntilTrue(() => requester.open().length === 0, END_MS)
    check(
      ended,
      `${requester
        .open()
        .map(({ jobId }) => jobId)
        .join(', ')} did not end`,
    )
    requester.verify()
    const forgotten = (): boolean => leaders().every(leader => leader.scheduler.jobs().length === 0)
    check(time.runUntilTrue(forgotten, FORGET_MS), 'a leader goes on with jobs that have ended')
    requester.quit()
  }
  const clean = (): boolean => {
    const leading = leaders()
    if (leading.length !== 1 || !peers.every(peer => peer.idle && peer.kept === 0)) return false
    try {
      leading[0]!.scheduler.assertEmpty()
      return true
    } catch {
      return false
    }
  }
  time.runUntil(time.nowMs + SCHEDULER.leaseMs)
  check(time.runUntilTrue(clean, CLEAN_MS, 250), `something is left: ${leftIn(world)}`)
}

function leftIn(world: JobWorld): string {
  return world.peers
    .map(peer => {
      const jobs = peer.leading?.scheduler.jobs().map(({ jobId }) => jobId)
      return `${peer.name} runs ${!peer.idle} keeps ${peer.kept} leads ${jobs?.join() ?? 'not'}`
    })
    .join('; ')
}

function perform(world: JobWorld, act: Act): void {
  const { random, peers, network, requester, time } = world
  world.note('nemesis', act)
  const peer = pick(random, peers)!
  const names = [...peers.map(({ name }) => name), requester.name]
  switch (act) {
    case 'crash':
      world.crash(peer)
      break
    case 'crash-leader':
      if (world.leader !== undefined) world.crash(world.leader.peer)
      break
    case 'start':
      for (const each of peers) if (random.next() < 0.7) each.start()
      break
    case 'depose':
      world.depose()
      break
    case 'cut':
      network.cut(pick(random, names)!, pick(random, names)!)
      time.after(random.next() * CUT_MS, () => network.mend())
      break
    case 'close':
      network.closeSome(names)
      break
    case 'cancel':
      requester.cancelOne()
      break
    case 'detach':
      requester.detach()
      break
    case 'blackout':
      world.blackout()
      break
    case 'begin':
      if (requester.alive) requester.begin()
      break
  }
}
