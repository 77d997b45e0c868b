import { attach, type LocalPeer, type Mesh } from '../../src/node/index.ts'
import { BenchMesh } from './bench-mesh.ts'
import { leaderOf } from './failover.ts'
import { median, ms, timeMs, type Figures } from './figures.ts'

const PEERS = 4
const ROUNDS = 5
/** Tasks that wait instead of computing, so that one peer less makes the same difference on any machine. */
const MAPS = 96
const REDUCES = 24
const TASK_MS = 150

/** Kills one of four peers in the middle of a job of two stages, one that follows and the one that leads. */
export async function survival(figures: Figures): Promise<void> {
  await using bench = await BenchMesh.start({ peers: PEERS, workers: 1 })
  const whole: number[] = []
  const shares: number[] = []
  const delays: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    for (const whom of ['follower', 'leader'] as const) {
      const peers = await bench.localPeers()
      const leader = await leaderOf(bench, peers)
      const followers = peers.filter(peer => peer !== leader)
      const attached = followers[round % followers.length]!
      const victim = whom === 'leader' ? leader : followers.find(peer => peer !== attached)!
      const { undisturbedMs, disturbedMs } = await killed(bench, attached, victim)
      console.log(`  ${whom} killed: ${ms(disturbedMs)} against ${ms(undisturbedMs)} undisturbed`)
      whole.push(undisturbedMs)
      if (whom === 'leader') delays.push(disturbedMs - undisturbedMs)
      else shares.push(disturbedMs / undisturbedMs)
      await bench.revive()
    }
  }
  const times = (share: number): string => `${share.toFixed(2)}×`
  figures.add({
    name: `one of four peers killed in the middle of a job (${ROUNDS} kills): its time to that undisturbed`,
    value: `p50 ${times(median(shares))}, max ${times(Math.max(...shares))}`,
    against: `${ms(median(whole))} undisturbed`,
    score: Math.max(...shares),
    target: { atMost: 1.5 },
  })
  figures.add({
    name: `the leader killed in the middle of a job (${ROUNDS} kills): what the job lost`,
    value: `p50 ${ms(median(delays))}, max ${ms(Math.max(...delays))}`,
    against: `${ms(median(whole))} undisturbed`,
    score: Math.max(...delays) / 1_000,
    target: { atMost: 5 },
  })
}

async function killed(
  bench: BenchMesh,
  attached: LocalPeer,
  victim: LocalPeer,
): Promise<{ undisturbedMs: number; disturbedMs: number }> {
  const mesh = await attach({ peers: attached.addresses, meshKey: await bench.meshKey() })
  try {
    // The workers start with the first job of their peer.
    await job(mesh, 0)
    const undisturbedMs = await timeMs(() => job(mesh, 1))
    const half = halfDone(mesh)
    const startMs = performance.now()
    const answer = job(mesh, 2)
    await half
    process.kill(victim.pid, 'SIGKILL')
    await answer
    return { undisturbedMs, disturbedMs: performance.now() - startMs }
  } finally {
    await mesh.close()
  }
}

/** @param salt Another one each time: a job finds the map outputs of an equal one. */
async function job(mesh: Mesh, salt: number): Promise<void> {
  const sums = await mesh
    .range(0, MAPS, 1, MAPS)
    .map(number => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TASK_MS)
      return [number % REDUCES, number + salt] as [number, number]
    })
    .reduceByKey((left, right) => left + right, REDUCES)
    .map(([key, sum]) => {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, TASK_MS)
      return [key, sum] as const
    })
    .collect()
  const expected = Array.from({ length: REDUCES }, () => 0)
  for (let number = 0; number < MAPS; number++) expected[number % REDUCES]! += number + salt
  const isRight = sums.length === REDUCES && sums.every(([key, sum]) => sum === expected[key])
  if (!isRight) throw new Error(`the job answered ${JSON.stringify(sums)}`)
}

/** Resolves when the next job has done half of its tasks. */
async function halfDone(mesh: Mesh): Promise<void> {
  const half = Promise.withResolvers<void>()
  using _ = mesh.onJobEvent(event => {
    if (event.type !== 'progress') return
    const done = event.progress.stages.reduce((sum, stage) => sum + stage.done, 0)
    if (done >= (MAPS + REDUCES) / 2) half.resolve()
  })
  await half.promise
}
