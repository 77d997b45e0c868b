import type { DeathPlan } from '../node/index.ts'
import { attached } from './attached.ts'
import type { Settings } from './settings.ts'
import { table } from './table.ts'
import { colors, print, printJson } from './terminal.ts'
import { counted, humanBytes, humanMs } from './units.ts'

/** Copies and paths shown; `--json` has more. */
const SHOWN_MAX = 10

/** `shoal plan --if-peer-dies`. @throws CONFIG_INVALID when there is no such member. */
export async function showDeathPlan(peer: string, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const plan = await mesh.planIfPeerDies(peer, { signal })
    if (settings.json) printJson(plan)
    else print(describePlan(plan))
  })
}

export function describePlan(plan: DeathPlan): string {
  const { name, blocks, bytes, copies, copyBlocks, copyBytes, graceMs, copyMs, bytesPerSecond } = plan
  const lines = [`${name} holds ${counted(blocks, 'block')}, ${humanBytes(bytes)}. If it died now:`, '']
  if (copyBlocks === 0) lines.push('nothing could or would be copied')
  else {
    lines.push(
      `after ${humanMs(graceMs)} of grace ${counted(copyBlocks, 'block')} (${humanBytes(copyBytes)}) would be copied, ` +
        `in about ${humanMs(copyMs)} at ${humanBytes(bytesPerSecond)}/s into each peer`,
      '',
      table(
        [
          { title: 'FROM' },
          { title: 'TO' },
          { title: 'BLOCKS', align: 'right' },
          { title: 'BYTES', align: 'right' },
        ],
        copies
          .slice(0, SHOWN_MAX)
          .map(copy => [copy.from, copy.to, String(copy.blocks), humanBytes(copy.bytes)]),
      ),
    )
    if (copies.length > SHOWN_MAX) lines.push(colors.dim(`… and ${copies.length - SHOWN_MAX} more pairs`))
  }
  if (plan.unplaced > 0)
    lines.push('', colors.yellow(`${counted(plan.unplaced, 'copy')} would find no peer: too few are left`))
  lines.push('', ...danger(plan))
  return lines.join('\n')
}

function danger({ lost, lostBlocks, single, singleBlocks }: DeathPlan): string[] {
  const lines: string[] = []
  const list = (paths: DeathPlan['lost']): string =>
    paths
      .slice(0, SHOWN_MAX)
      .map(({ path, blocks }) => `  ${path} (${counted(blocks, 'block')})`)
      .join('\n')
  if (lostBlocks > 0)
    lines.push(colors.red(`${counted(lostBlocks, 'block')} would have no living copy:`), list(lost))
  if (singleBlocks > 0)
    lines.push(
      colors.yellow(`${counted(singleBlocks, 'block')} would have one living copy, and be copied at once:`),
      list(single),
    )
  return lines.length > 0 ? lines : ['every block would still have two living copies or more']
}
