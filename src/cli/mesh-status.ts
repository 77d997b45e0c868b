import { ShoalError } from '../base/errors.ts'
import type { PeerStatus } from '../node/index.ts'
import { attached } from './attached.ts'
import type { Settings } from './settings.ts'
import { table } from './table.ts'
import { colors, print, printJson } from './terminal.ts'
import { counted, humanBytes, humanMs } from './units.ts'

type MemberStatus = PeerStatus['members'][number]

/** `shoal status`: what the attached peer knows; it answers without a leader, too. */
export async function showStatus(settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const status = await mesh.status({ signal })
    if (settings.json) printJson(status)
    else print(describeStatus(status))
  })
}

/** `shoal leader`. @throws NO_QUORUM when the attached peer knows none. */
export async function showLeader(settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const { leader, term, members, voters } = await mesh.status({ signal })
    const member = members.find(({ peerId }) => peerId === leader)
    if (leader === undefined) {
      throw new ShoalError(
        'NO_QUORUM',
        { term, voters },
        `no peer leads (term ${term}): a majority of the ${counted(voters.length, 'voter')} must be reachable; \`shoal status\` shows who is`,
      )
    }
    const { name = leader.slice(-6), addresses = [] } = member ?? {}
    if (settings.json) printJson({ name, peerId: leader, term, addresses, voters: voters.length })
    else print(`${name} leads in term ${term} (${leader}, ${addresses.join(', ')})`)
  })
}

export function describeStatus(status: PeerStatus): string {
  const { members, term, voters, votersTarget, files, name, version, upMs, workers, rssBytes } = status
  const { red, yellow, bold } = colors
  const leader = members.find(({ peerId }) => peerId === status.leader)
  const lines: string[] = []
  lines.push(
    status.leader === undefined
      ? red(`no leader (term ${term}): files and jobs wait until a majority of the voters is reachable`)
      : `${bold(leader?.name ?? status.leader.slice(-6))} leads in term ${term}; ${voters.length} of ${counted(votersTarget, 'voter')}`,
  )
  lines.push('', memberTable(status), '')
  lines.push(
    `${counted(files.files, 'file')} in ${counted(files.blocks, 'partition')}, ${humanBytes(files.sizeBytes)}; ` +
      `${humanBytes(files.storedBytes)} with all copies`,
  )
  const worries: string[] = []
  if (files.missing > 0) worries.push(red(`${counted(files.missing, 'partition')} with no living copy`))
  if (files.underReplicated > 0)
    worries.push(yellow(`${counted(files.underReplicated, 'partition')} with too few copies`))
  if (files.slotsMoving > 0) worries.push(`${counted(files.slotsMoving, 'slot')} on the move`)
  worries.push(...logWorries(status))
  const isCertain = members.every(({ state, liveness }) => state !== 'up' || liveness === 'alive')
  const calm = isCertain ? 'all copies are there' : 'no copy is known to be lost, but not all peers answer'
  lines.push(worries.length === 0 ? calm : worries.join('; '))
  lines.push(
    '',
    colors.dim(
      `seen by ${name}: shoal ${version}, up ${humanMs(upMs)}, ${counted(workers, 'worker')}, ${humanBytes(rssBytes)} of memory`,
    ),
  )
  return lines.join('\n')
}

/** What is wrong with the attached peer's own log. */
function logWorries({ space, forgot, damagedLogs, name }: PeerStatus): string[] {
  const worries: string[] = []
  if (space === 'low') worries.push(colors.yellow(`the disk of ${name} is nearly full`))
  if (space === 'reserve')
    worries.push(colors.red(`the disk of ${name} is full: only metadata can be written, from its reserve`))
  if (space === 'full') worries.push(colors.red(`the disk of ${name} is full: it is read-only`))
  const last = damagedLogs.at(-1)
  if (forgot) worries.push(colors.red(`${name} lost its log and has no vote until it is fetched again`))
  if (last !== undefined)
    worries.push(colors.yellow(`a damaged log of ${name} is kept in meta/${last.folder} (${last.reason})`))
  return worries
}

export function memberTable({ members, peerId }: Pick<PeerStatus, 'members' | 'peerId'>): string {
  const rows = members
    .toSorted((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }))
    .map(member => [
      member.peerId === peerId ? `${member.name} *` : member.name,
      member.role === 'leader' ? colors.green('leader') : member.role,
      health(member),
      member.host,
      // Short enough for a terminal, and enough to attach to or to join.
      member.addresses[0]?.replace(/\/p2p\/.*/, '') ?? '',
      member.peerId.slice(-6),
    ])
  const titles = ['PEER', 'ROLE', 'STATE', 'HOST', 'ADDRESS', 'ID']
  return table(
    titles.map(title => ({ title })),
    rows,
  )
}

/** What the log says, and what gossip sees right now where that differs. */
function health({ state, liveness, quarantined }: MemberStatus): string {
  if (state === 'up' && liveness === 'alive' && quarantined) return colors.yellow('quarantined')
  if (state === 'up' && liveness === 'alive') return 'up'
  if (state === 'left') return colors.dim('left')
  const seen = state === 'up' ? liveness : `${state}${liveness === 'alive' ? ', back' : ''}`
  return liveness === 'suspect' || liveness === 'unknown' ? colors.yellow(seen) : colors.red(seen)
}
