import { Command, InvalidArgumentError } from 'commander'
import { PROFILES } from '../test/sim/nemesis.ts'
import { runJobSeed } from '../test/sim/jobs/run-job-seed.ts'
import { runSeed } from '../test/sim/run-seed.ts'

/** Runs many seeds of the simulator and says how fast; exits with 1 when a promise was broken in any. */

function whole(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError('a whole number of at least 0')
  return value
}

function profileOf(name: string) {
  const profile = PROFILES.find(each => each.name === name)
  if (profile === undefined)
    throw new InvalidArgumentError(`one of ${PROFILES.map(each => each.name).join(', ')}`)
  return profile
}

const { from, seeds, trace, profile, failures, jobs } = new Command('sim')
  .description(
    'Simulates meshes of 1 to 7 peers under faults, one per seed, and checks what the protocols promise.',
  )
  .option('--from <seed>', 'first seed', whole, 1)
  .option('--seeds <count>', 'how many seeds', whole, 1_000)
  .option(
    '--profile <name>',
    'one kind of trouble for all seeds, instead of one drawn from each seed',
    profileOf,
  )
  .option('--trace <lines>', 'print the last lines of the trace of a failed seed', whole, 0)
  .option('--jobs', 'simulate jobs on meshes that live and die, instead of the meshes themselves')
  .option('--failures <count>', 'stop after so many failed seeds', whole, 10)
  .addHelpText('after', '\nExample: npm run test:sim -- --from 1 --seeds 100000')
  .parse()
  .opts<{
    from: number
    seeds: number
    trace: number
    failures: number
    jobs?: true
    profile?: (typeof PROFILES)[number]
  }>()

function meshSeed(seed: number) {
  const result = runSeed(seed, { keepTrace: trace, ...(profile && { profile }) })
  return { ...result, simulated: `${result.profile}, ${result.peers} peers` }
}

const startMs = performance.now()
let run = 0
let failed = 0
let events = 0
let simulatedMs = 0
for (let seed = from; seed < from + seeds && failed < failures; seed++) {
  const result = jobs ? { ...runJobSeed(seed, { keepTrace: trace }), simulated: 'jobs' } : meshSeed(seed)
  run++
  events += result.events
  simulatedMs += result.simulatedMs
  if (result.failure === undefined) continue
  failed++
  for (const line of result.trace) console.log(line)
  console.error(`seed ${seed} (${result.simulated}): ${result.failure.message}`)
  if (result.failure.name !== 'CheckFailure') console.error(result.failure.stack)
  if (trace === 0)
    console.error(
      `to see it: npm run test:sim --${jobs ? ' --jobs' : ''} --from ${seed} --seeds 1 --trace 200`,
    )
}
const tookMs = performance.now() - startMs
const perMinute = Math.round((run / tookMs) * 60_000)
console.log(
  `${run} seeds, ${failed} failed; ${perMinute} seeds a minute, ${Math.round(events / (tookMs / 1_000))} events a second, ` +
    `${Math.round(simulatedMs / tookMs)} times real time`,
)
process.exitCode = failed === 0 ? 0 : 1
