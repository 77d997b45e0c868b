import { Command, InvalidArgumentError } from 'commander'
import { PROFILES } from '../test/sim/nemesis.ts'
import { runJobSeed } from '../test/sim/jobs/run-job-seed.ts'
import { runMeshSeed } from '../test/sim/mesh/run-mesh-seed.ts'
import { MESH_PROFILES } from '../test/sim/mesh/storage-nemesis.ts'
import { runSeed } from '../test/sim/run-seed.ts'

/** Runs many seeds of the simulator and says how fast; exits with 1 when a promise was broken in any. */

function whole(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError('a whole number of at least 0')
  return value
}

/** What a seed decides: a mesh that only agrees on a log and on members, whole peers with files, or jobs. */
const KINDS = ['log', 'mesh', 'jobs'] as const
type Kind = (typeof KINDS)[number]

const PROFILE_NAMES = [...new Set([...PROFILES, ...MESH_PROFILES].map(({ name }) => name))]

function profileOf(name: string): string {
  if (!PROFILE_NAMES.includes(name)) throw new InvalidArgumentError(`one of ${PROFILE_NAMES.join(', ')}`)
  return name
}

function kindOf(name: string): Kind {
  const kind = KINDS.find(each => each === name)
  if (kind === undefined) throw new InvalidArgumentError(`one of ${KINDS.join(', ')}`)
  return kind
}

const { from, seeds, trace, profile, failures, jobs, only } = new Command('sim')
  .description(
    'Simulates meshes under faults and checks what the protocols promise. Each seed is two runs: log and membership alone ' +
      '(1 to 7 peers, many short terms), and whole peers with clients, files and copies on faulty disks.',
  )
  .option('--from <seed>', 'first seed', whole, 1)
  .option('--seeds <count>', 'how many seeds', whole, 1_000)
  .option(
    '--profile <name>',
    'one kind of trouble for all seeds, instead of one drawn from each seed; runs that do not know it are left out',
    profileOf,
  )
  .option('--trace <lines>', 'print the last lines of the trace of a failed seed', whole, 0)
  .option('--only <kind>', `one kind of run: ${KINDS.join(', ')}`, kindOf)
  .option('--jobs', 'the same as --only jobs: jobs on meshes that live and die')
  .option('--failures <count>', 'stop after so many failed runs', whole, 10)
  .addHelpText('after', '\nExample: npm run test:sim -- --from 1 --seeds 100000')
  .parse()
  .opts<{
    from: number
    seeds: number
    trace: number
    failures: number
    jobs?: true
    only?: Kind
    profile?: string
  }>()

function outcomeOf(kind: Kind, seed: number) {
  switch (kind) {
    case 'jobs':
      return { ...runJobSeed(seed, { keepTrace: trace }), profile: 'jobs' }
    case 'mesh': {
      const chosen = MESH_PROFILES.find(({ name }) => name === profile)
      return runMeshSeed(seed, { keepTrace: trace, ...(chosen && { profile: chosen }) })
    }
    case 'log': {
      const chosen = PROFILES.find(({ name }) => name === profile)
      return runSeed(seed, { keepTrace: trace, ...(chosen && { profile: chosen }) })
    }
  }
}

function knowsProfile(kind: Kind): boolean {
  const known = kind === 'mesh' ? MESH_PROFILES : PROFILES
  return profile === undefined || kind === 'jobs' || known.some(({ name }) => name === profile)
}

const asked: Kind[] = jobs ? ['jobs'] : only === undefined ? ['log', 'mesh'] : [only]
const kinds = asked.filter(knowsProfile)
/** What the runs of one kind cost. */
const tallies = new Map(kinds.map(kind => [kind, { runs: 0, tookMs: 0, events: 0, simulatedMs: 0 }]))
let run = 0
let failed = 0
for (let seed = from; seed < from + seeds && failed < failures; seed++) {
  run++
  for (const [kind, tally] of tallies) {
    const startMs = performance.now()
    const result = outcomeOf(kind, seed)
    tally.runs++
    tally.tookMs += performance.now() - startMs
    tally.events += result.events
    tally.simulatedMs += result.simulatedMs
    if (result.failure === undefined) continue
    failed++
    for (const line of result.trace) console.log(line)
    console.error(`seed ${seed} (${kind}, ${result.profile}): ${result.failure.message}`)
    if (result.failure.name !== 'CheckFailure') console.error(result.failure.stack)
    if (trace === 0)
      console.error(`to see it: npm run test:sim -- --only ${kind} --from ${seed} --seeds 1 --trace 200`)
  }
}
for (const [kind, { runs, tookMs, events, simulatedMs }] of tallies)
  console.log(
    `${kind}: ${runs} seeds, ${Math.round((runs / tookMs) * 60_000)} a minute; ` +
      `${Math.round(events / (tookMs / 1_000))} events a second, ${Math.round(simulatedMs / tookMs)} times real time`,
  )
console.log(`${run} seeds (${kinds.join(' and ')}), ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
