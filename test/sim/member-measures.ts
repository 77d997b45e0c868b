import { below, shuffled } from '../../src/base/index.ts'
import { MemberCrowd } from './member-crowd.ts'
import type { CrowdOptions } from './member-crowd.ts'

/** What crowds of membership machines do, in simulated time; the same figures for the same seed. */

export interface IdleLoad {
  /** Sent by the mean peer in a second. */
  messages: number
  bytes: number
}

export interface Detection {
  /** From the crash to the first accusation anywhere. */
  suspectedMs: number[]
  /** From the crash to "dead", at each observer. */
  deadMs: number[]
  /** From "suspect" to "dead", at each observer. */
  suspicionMs: number[]
  /** From the crash until the last one knows. */
  allKnowMs: number[]
}

export interface FalseAlarms {
  /** Living peers that somebody accused, each counted once per accusation that spread, in a minute and per peer. */
  accusationsPerPeerMinute: number
  /** Living peers that somebody took for dead. */
  deaths: number
}

/** Until what the start left over is done. */
const SETTLE_MS = 20_000
const DETECT_LIMIT_MS = 120_000

export function idleLoad(options: CrowdOptions, forMs: number): IdleLoad {
  const crowd = new MemberCrowd(options)
  crowd.run(SETTLE_MS)
  const before = crowd.messages
  crowd.metering = true
  crowd.run(forMs)
  const peerSeconds = (crowd.size * forMs) / 1000
  return { messages: (crowd.messages - before) / peerSeconds, bytes: crowd.bytes / peerSeconds }
}

/** Peers lose power one after the other, so that no closed connection tells of it. */
export function detection(options: CrowdOptions, deaths: number): Detection {
  const crowd = new MemberCrowd(options)
  const found: Detection = { suspectedMs: [], deadMs: [], suspicionMs: [], allKnowMs: [] }
  crowd.run(SETTLE_MS)
  for (let death = 0; death < deaths; death++) {
    const victim = below(crowd.random, crowd.size)
    crowd.changes.length = 0
    const startMs = crowd.time.nowMs
    crowd.crash(victim)
    const living = crowd.size - 1
    if (crowd.until(() => crowd.believers(victim, 'dead') === living, DETECT_LIMIT_MS) === undefined)
      throw new Error(`not everybody knew of a death after ${DETECT_LIMIT_MS} ms`)
    const suspectedAt = new Map<number, number>()
    let lastMs = 0
    for (const { atMs, observer, of, change } of crowd.changes) {
      if (of !== victim) continue
      if (change === 'suspect') suspectedAt.set(observer, atMs)
      else {
        lastMs = atMs - startMs
        found.deadMs.push(lastMs)
        found.suspicionMs.push(atMs - (suspectedAt.get(observer) ?? atMs))
      }
    }
    found.suspectedMs.push(Math.min(...suspectedAt.values()) - startMs)
    found.allKnowMs.push(lastMs)
    crowd.restart(victim)
    if (crowd.until(() => crowd.agreed(), DETECT_LIMIT_MS) === undefined)
      throw new Error('a restarted peer is not back')
    crowd.run(SETTLE_MS)
  }
  return found
}

export interface Trouble {
  /** Share of the peers that stand still now and then. */
  share: number
  stallMinMs: number
  stallMaxMs: number
  /** Between two stalls of a peer, on average. */
  pauseMs: number
  /** Share of messages lost on all links. */
  loss: number
}

/** Peers that live all the time, some of them on machines that stand still now and then, on links that lose messages. */
export function falseAlarms(options: CrowdOptions, trouble: Trouble, forMs: number): FalseAlarms {
  const crowd = new MemberCrowd(options)
  const { share, stallMinMs, stallMaxMs, pauseMs, loss } = trouble
  const { random } = crowd
  crowd.run(SETTLE_MS)
  crowd.changes.length = 0
  crowd.loss = loss
  const places = shuffled(
    random,
    Array.from({ length: crowd.size }, (_, place) => place),
  )
  for (const place of places.slice(0, Math.round(crowd.size * share))) {
    const stall = (): void => {
      crowd.pause(place, stallMinMs + random.next() * (stallMaxMs - stallMinMs))
      crowd.time.after(stallMaxMs + 2 * pauseMs * random.next(), stall)
    }
    crowd.time.after(2 * pauseMs * random.next(), stall)
  }
  crowd.run(forMs)
  const spread = crowd.changes.filter(({ change }) => change === 'suspect').length / (crowd.size - 1)
  const dead = new Set(crowd.changes.filter(({ change }) => change === 'dead').map(({ of }) => of))
  return { accusationsPerPeerMinute: spread / crowd.size / (forMs / 60_000), deaths: dead.size }
}

/** Milliseconds from the end of a partition until everybody takes everybody for alive. */
export function healing(
  options: CrowdOptions,
  share: number,
  partedMs: number,
): { buried: number; healedMs: number } {
  const crowd = new MemberCrowd(options)
  crowd.run(SETTLE_MS)
  const count = Math.max(1, Math.round(crowd.size * share))
  crowd.split(count)
  crowd.run(partedMs)
  let buried = 0
  for (let of = 0; of < crowd.size; of++) if (crowd.believers(of, 'dead') > 0) buried++
  crowd.mend()
  const healedMs = crowd.until(() => crowd.agreed(), DETECT_LIMIT_MS)
  if (healedMs === undefined) throw new Error(`not healed ${DETECT_LIMIT_MS} ms after a partition`)
  crowd.assertInvariants()
  return { buried, healedMs }
}
