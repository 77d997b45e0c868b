import { detection, falseAlarms, healing, idleLoad } from '../../test/sim/member-measures.ts'
import { ms, quantile, type Figures } from './figures.ts'

const SEED = 2026
const SIZES = [10, 100, 1_000]
const LARGEST = SIZES.at(-1)!
/** Deaths observed; each is seen by all others, so that a large mesh needs fewer. */
const DEATHS = new Map([
  [10, 40],
  [100, 15],
  [1_000, 4],
])
const LOAD = { share: 0.2, stallMinMs: 300, stallMaxMs: 3_000, pauseMs: 5_000, loss: 0.02 }

/** Membership alone, in simulated time: the same figures on every machine. */
export async function membership(figures: Figures): Promise<void> {
  const idle = new Map(SIZES.map(peers => [peers, idleLoad({ peers, seed: SEED }, 60_000)]))
  const few = idle.get(SIZES[0]!)!
  for (const [peers, { messages, bytes }] of idle) {
    figures.add({
      name: `membership, ${peers} peers: sent by each, idle`,
      value: `${messages.toFixed(2)} messages/s, ${bytes.toFixed(0)} B/s`,
      ...(peers === LARGEST && {
        score: Math.max(messages / few.messages, bytes / few.bytes),
        target: { atMost: 1.5 },
      }),
    })
  }
  for (const peers of SIZES) {
    const { suspectedMs, deadMs, suspicionMs, allKnowMs } = detection(
      { peers, seed: SEED },
      DEATHS.get(peers)!,
    )
    figures.add({
      name: `membership, ${peers} peers: power lost until dead`,
      value:
        `p50 ${ms(quantile(deadMs, 0.5))}, p99 ${ms(quantile(deadMs, 0.99))}, all know ${ms(Math.max(...allKnowMs))}; ` +
        `first suspicion p50 ${ms(quantile(suspectedMs, 0.5))}`,
    })
    figures.add({
      name: `membership, ${peers} peers: suspect until dead`,
      value: `${ms(Math.min(...suspicionMs))} to ${ms(Math.max(...suspicionMs))}`,
      ...(peers === SIZES[0] && { score: Math.max(...suspicionMs) / 1000, target: { atMost: 12 } }),
    })
  }
  for (const peers of SIZES) {
    const { accusationsPerPeerMinute, deaths } = falseAlarms({ peers, seed: SEED }, LOAD, 60_000)
    figures.add({
      name: `membership, ${peers} peers: 20 % stall 0.3–3 s, 2 % loss`,
      value: `${accusationsPerPeerMinute.toFixed(2)} false suspicions per peer and minute, ${deaths} false deaths`,
      score: deaths,
      target: { atMost: 0 },
    })
  }
  for (const peers of SIZES) {
    const { buried, healedMs } = healing({ peers, seed: SEED }, 0.2, 30_000)
    figures.add({
      name: `membership, ${peers} peers: partition of 20 % for 30 s`,
      value: `${buried} taken for dead; healed ${ms(healedMs)} after its end`,
    })
  }
  await Promise.resolve()
}
