import { parseArgs } from 'node:util'
import { reportError } from '../../src/cli/error-report.ts'
import { interruptible } from '../../src/cli/interrupt.ts'
import { memberTable } from '../../src/cli/mesh-status.ts'
import { colors, quietOnBrokenPipe } from '../../src/cli/terminal.ts'
import { humanMs } from '../../src/cli/units.ts'
import { DemoMesh } from './demo-mesh.ts'
import { storeFiles } from './files-scene.ts'
import { readInputs } from './inputs.ts'
import { askQuestions, lateness } from './questions.ts'
import { Screen } from './screen.ts'
import { surviveKills } from './survival.ts'

/**
 * The main job (`npm run demo`): five peers as processes, real files, real questions, two sudden deaths. Every answer is
 * compared with a plain loop's; exits with 1 when one differs. `--keep` leaves the mesh running.
 */

const PEERS = 5

async function demo(screen: Screen, local: DemoMesh, keep: boolean, signal: AbortSignal): Promise<void> {
  const startMs = performance.now()
  const inputs = await readInputs()

  screen.title('Shoal: a mesh of five peers on this machine, from nothing to answers.')
  screen.scene(
    'Five peers find each other',
    'Each is a process of its own, the same program; nobody is the master. They spread the word of each other by',
    'gossip, and the five of them elect a leader.',
  )
  screen.progress('starting five processes …')
  await local.up(PEERS, signal)
  const first = await local.connect(signal)
  const status = await first.status({ signal })
  screen.say(memberTable(status))
  const agree = `all agree: ${PEERS} members, a leader, ${PEERS} voters`
  const alive = status.members.filter(({ state, liveness }) => state === 'up' && liveness === 'alive')
  screen.check(
    agree,
    [alive.length, status.leader !== undefined, status.voters.length],
    [PEERS, true, PEERS],
    performance.now() - startMs,
  )

  // Through a peer that does not lead: the leader is to be killed.
  const attachedTo = status.members.find(({ role }) => role !== 'leader')!.name
  const mesh = await local.connect(signal, attachedTo)

  screen.scene(
    'Files go in',
    'A file is cut at the ends of lines. A hash ring names three peers for each partition, and it counts as stored',
    'when they have it on disk.',
  )
  await storeFiles(screen, mesh, inputs, signal)

  screen.scene(
    'Questions',
    `This program is a client of ${attachedTo}. Its functions travel to the data, with the variables that they use.`,
  )
  await askQuestions({ screen, mesh, inputs, signal })

  screen.scene(
    'What happens when one asks',
    'The leader cuts the last question into stages: within a stage every partition goes through all steps on its own,',
    'and between stages the peers exchange rows.',
  )
  screen.quote(await lateness(mesh).explain({ signal }))

  screen.scene(
    'Two peers die in the middle of a job',
    'The leader first, then another. Whoever is next asks the living what they have, and goes on with that.',
  )
  await surviveKills(screen, { local, mesh, attachedTo, inputs, signal })

  screen.say()
  if (keep) {
    local.kept = true
    const [{ addresses } = { addresses: [] }] = alive.filter(({ name }) => name === attachedTo)
    screen.say(`The mesh is kept, three of its peers run: ${local.folder}`)
    screen.say(`npm run repl -- --peer ${addresses[0] ?? ''} --key ${local.keyFile}`)
    screen.say(`npm run mesh -- --dir ${local.folder}        starts the other two again`)
    screen.say(`npm run shoal -- down --dir ${local.folder}   stops them all`)
  }
  const { checks, differences } = screen
  const took = colors.dim(`(${humanMs(performance.now() - startMs)})`)
  if (differences === 0) screen.title(`${colors.green('✓')} ${checks} of ${checks} checks hold ${took}`)
  else screen.title(`${colors.red('✗')} ${differences} of ${checks} checks do not hold ${took}`)
}

quietOnBrokenPipe()
const { values } = parseArgs({ options: { keep: { type: 'boolean', default: false } } })
using screen = new Screen()
try {
  await interruptible(async signal => {
    await using local = await DemoMesh.prepare()
    await demo(screen, local, values.keep, signal)
    screen.progress('stopping the peers …')
  })
  if (screen.differences > 0) process.exitCode = 1
} catch (error) {
  screen[Symbol.dispose]()
  process.exitCode = reportError(error)
}
