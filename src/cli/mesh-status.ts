import { ShoalError } from '../base/errors.ts'
import type { MeshReport, PeerStatus, PeerVitals } from '../node/index.ts'
import { attached } from './attached.ts'
import type { Settings } from './settings.ts'
import { table } from './table.ts'
import { colors, print, printJson } from './terminal.ts'
import { counted, humanBytes, humanMs } from './units.ts'
import { watch } from './watch.ts'

type MemberStatus = PeerStatus['members'][number]

export interface StatusOptions {
  /** Seconds between two looks; true: the usual ones. */
  watch?: number | true
}

/** `shoal status`: what the attached peer knows, and what the living peers say of themselves; it answers without a leader, too. */
export async function showStatus(options: StatusOptions, settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    if (options.watch !== undefined) {
      await watch(async () => await mesh.report({ signal }), describeReport, options.watch, {
        json: settings.json,
        signal,
      })
      return
    }
    const report = await mesh.report({ signal })
    if (settings.json) printJson(statusJson(report))
    else print(describeReport(report))
  })
}

/** The status as it was, and what each peer says of itself beside it. */
export function statusJson({ status, peers }: MeshReport): PeerStatus & { peers: MeshReport['peers'] } {
  return { ...status, peers }
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

export function describeReport(report: MeshReport): string {
  const { status } = report
  const { members, name, version, upMs } = status
  const vitals = vitalsOf(report)
  return [
    ...describeLeader(status),
    '',
    memberTable(status, vitals),
    '',
    ...describeFiles(report),
    ...worries(report),
    '',
    colors.dim(
      `seen by ${name}: shoal ${version}, up ${humanMs(upMs)}, ${counted(members.length, 'member')}`,
    ),
  ].join('\n')
}

/** Who leads, and how many voters may still be lost. */
export function describeLeader(status: PeerStatus): string[] {
  const { members, term, voters, votersTarget } = status
  const { red, yellow, green, bold } = colors
  const nameOf = (peer: string): string =>
    members.find(({ peerId }) => peerId === peer)?.name ?? peer.slice(-6)
  const leads =
    status.leader === undefined
      ? red(`no leader (term ${term}): files and jobs wait until a majority of the voters is reachable`)
      : `${bold(nameOf(status.leader))} leads in term ${term}`
  const isHere = (peer: string): boolean =>
    members.some(({ peerId, liveness }) => peerId === peer && liveness === 'alive')
  const here = voters.filter(isHere).length
  const majority = Math.floor(voters.length / 2) + 1
  const spare = here - majority
  const sets: string[] = []
  if (voters.length < votersTarget)
    sets.push(yellow(`${voters.length} of ${counted(votersTarget, 'voter')}, more are being added`))
  const gone = voters.filter(voter => !isHere(voter)).map(nameOf)
  if (gone.length > 0) sets.push(red(`${gone.join(', ')} ${gone.length === 1 ? 'is' : 'are'} not reachable`))
  else if (voters.length >= votersTarget) sets.push(green('ready'))
  const more = gone.length > 0 ? ' more' : ''
  if (spare > 0) sets.push(`${spare}${more} may be lost`)
  else if (spare === 0)
    sets.push(voters.length === 1 ? 'it may not be lost' : yellow(`no${more || 'ne'} may be lost`))
  else sets.push(red(`${counted(-spare, 'voter')} must come back`))
  return [
    leads,
    `${counted(voters.length, 'voter')} (${voters.map(nameOf).toSorted(byName).join(', ')}): ${sets.join('; ')}`,
  ]
}

/** What is stored, how safe it is, and how full the disks are. */
function describeFiles({ status: { files, members }, peers }: MeshReport): string[] {
  const { red, yellow, green } = colors
  const lines = [
    `files: ${files.files} in ${counted(files.blocks, 'partition')}, ${humanBytes(files.sizeBytes)}; ` +
      `${humanBytes(files.storedBytes)} with all copies`,
  ]
  const sum = (of: (vitals: PeerVitals) => number): number =>
    peers.reduce((total, { vitals }) => total + (vitals === undefined ? 0 : of(vitals)), 0)
  const corrupt = sum(({ store }) => store.corrupt)
  const lost = sum(({ store }) => store.missing)
  const parts: string[] = []
  if (files.missing > 0)
    parts.push(red(`${counted(files.missing, 'partition')} with no living copy (shoal fs fsck / names them)`))
  const few = files.underReplicated - files.missing
  if (few > 0) parts.push(yellow(`${counted(few, 'partition')} with too few copies, to be made again`))
  if (files.short > 0)
    parts.push(
      yellow(`${counted(files.short, 'partition')} in fewer copies than wanted, for want of living peers`),
    )
  if (corrupt > 0) parts.push(red(`${corrupt} corrupt ${corrupt === 1 ? 'copy' : 'copies'}, being mended`))
  if (lost > 0)
    parts.push(yellow(`${lost} ${lost === 1 ? 'copy' : 'copies'} gone from disk, being made again`))
  if (parts.length === 0 && files.blocks === 0) parts.push('nothing is stored yet')
  else if (parts.length === 0) {
    const isSilent = (peer: string): boolean =>
      peers.some(({ peerId, vitals }) => peerId === peer && vitals === undefined)
    const isCertain = members.every(
      ({ peerId, state, liveness }) => state !== 'up' || (liveness === 'alive' && !isSilent(peerId)),
    )
    parts.push(isCertain ? green('all there') : 'none is known to be lost, but not all peers answer')
  }
  lines.push(`copies: ${parts.join('; ')}`)
  if (files.slotsMoving > 0) lines.push(`slots: ${files.slotsMoving} on the move`)
  const [used, free] = [sum(({ store }) => store.usedBytes), sum(({ store }) => store.freeBytes)]
  if (peers.some(({ vitals }) => vitals !== undefined))
    lines.push(
      `disks: ${humanBytes(used)} used by copies, ${humanBytes(free)} free of ${humanBytes(used + free)}`,
    )
  return lines
}

/** What is wrong with peers, one line each. */
export function worries({ status, peers }: MeshReport): string[] {
  const lines: string[] = []
  for (const { name, peerId, vitals } of peers) {
    if (vitals !== undefined) lines.push(...peerWorries(name, vitals))
    else if (status.members.some(member => member.peerId === peerId && member.liveness === 'alive'))
      lines.push(colors.yellow(`${name} did not say how it is`))
  }
  return lines.length === 0 ? [] : ['', ...lines]
}

function peerWorries(name: string, { space, forgot, damagedLog, damagedLogs, store }: PeerVitals): string[] {
  const { red, yellow } = colors
  const lines: string[] = []
  if (store.failure !== undefined)
    lines.push(red(`${name}: the disk of its copies failed and is given up: ${store.failure}`))
  if (space === 'low') lines.push(yellow(`${name}: its disk is nearly full`))
  if (space === 'reserve')
    lines.push(red(`${name}: its disk is full: it writes only metadata, from its reserve`))
  if (space === 'full') lines.push(red(`${name}: its disk is full: it is read-only`))
  if (forgot) lines.push(red(`${name}: it lost its log, and has no vote until it is fetched again`))
  if (damagedLog !== undefined) {
    const others = damagedLogs > 1 ? `, the newest of ${damagedLogs}` : ''
    lines.push(
      yellow(`${name}: a damaged log is kept in meta/${damagedLog.folder} (${damagedLog.reason})${others}`),
    )
  }
  return lines
}

export function memberTable(
  { members, peerId }: Pick<PeerStatus, 'members' | 'peerId'>,
  vitals?: ReadonlyMap<string, PeerVitals>,
): string {
  const rows = members
    .toSorted((a, b) => byName(a.name, b.name))
    .map(member => [
      member.peerId === peerId ? `${member.name} *` : member.name,
      roleOf(member),
      health(member),
      ...(vitals === undefined ? [] : loads(vitals.get(member.peerId))),
      // Short enough for a terminal, and enough to attach to or to join.
      member.addresses[0]?.replace(/\/p2p\/.*/, '') ?? '',
    ])
  const right = { align: 'right' } as const
  return table(
    [
      { title: 'PEER' },
      { title: 'ROLE' },
      { title: 'STATE' },
      ...(vitals === undefined
        ? []
        : ['TASKS', 'CPU', 'MEMORY', 'USED', 'FREE'].map(title => ({ title, ...right }))),
      { title: 'ADDRESS' },
    ],
    rows,
  )
}

/** Who left has no part in the log any more. */
function roleOf({ role, state }: MemberStatus): string {
  if (state === 'left') return ''
  return role === 'leader' ? colors.green(role) : role
}

function loads(vitals: PeerVitals | undefined): string[] {
  if (vitals === undefined) return ['', '', '', '', '']
  const { runningTasks, workers, cpuCores, rssBytes, store } = vitals
  return [
    `${runningTasks}/${workers}`,
    `${Math.round(cpuCores * 100)} %`,
    humanBytes(rssBytes),
    humanBytes(store.usedBytes),
    humanBytes(store.freeBytes),
  ]
}

export function vitalsOf({ peers }: MeshReport): Map<string, PeerVitals> {
  return new Map(peers.flatMap(({ peerId, vitals }) => (vitals === undefined ? [] : [[peerId, vitals]])))
}

/** What the log says, and what gossip sees right now where that differs. */
export function health({ state, liveness, quarantined, draining }: MemberStatus): string {
  const { yellow, red, dim, cyan } = colors
  if (state === 'left') return dim('left')
  if (state === 'up' && liveness === 'alive') {
    if (draining) return cyan('draining')
    return quarantined ? yellow('quarantined') : 'up'
  }
  const seen = state === 'up' ? liveness : `${state}${liveness === 'alive' ? ', back' : ''}`
  const shown = draining ? `${seen}, draining` : seen
  return liveness === 'suspect' || liveness === 'unknown' ? yellow(shown) : red(shown)
}

export function byName(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true })
}
