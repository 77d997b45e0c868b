import type { MeshReport, PeerStatus, PeerVitals } from '../node/index.ts'
import { attached } from './attached.ts'
import { byName, describeLeader, health, statusJson, vitalsOf, worries } from './mesh-status.ts'
import type { Settings } from './settings.ts'
import { colors, print, printJson } from './terminal.ts'
import { counted, humanBytes, humanMs } from './units.ts'

type MemberStatus = PeerStatus['members'][number]

/** `shoal report`: the mesh, then each peer, as `hdfs dfsadmin -report` does. Answers without a leader, too. */
export async function showReport(settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const report = await mesh.report({ signal })
    if (settings.json) printJson(statusJson(report))
    else print(describePeers(report))
  })
}

export function describePeers(report: MeshReport): string {
  const { status } = report
  const vitals = vitalsOf(report)
  const stores = [...vitals.values()].map(({ store }) => store)
  const sum = (key: 'usedBytes' | 'freeBytes' | 'blocks' | 'corrupt' | 'missing'): number =>
    stores.reduce((total, store) => total + store[key], 0)
  const [used, free] = [sum('usedBytes'), sum('freeBytes')]
  const { files } = status
  const whole = facts([
    ['capacity', humanBytes(used + free)],
    ['used', `${humanBytes(used)} (${share(used, used + free)}) by ${copies(sum('blocks'))} of partitions`],
    ['free', humanBytes(free)],
    ['files', `${files.files} in ${counted(files.blocks, 'partition')}, ${humanBytes(files.sizeBytes)}`],
    [
      'too few copies',
      `${files.underReplicated - files.missing} of partitions; ${files.short} more for want of peers`,
    ],
    ['no living copy', counted(files.missing, 'partition')],
    ['corrupt', `${copies(sum('corrupt'))}; ${sum('missing')} gone from disk`],
    ['slots moving', String(files.slotsMoving)],
  ])
  const present = status.members
    .filter(({ state }) => state !== 'left')
    .toSorted((a, b) => byName(a.name, b.name))
  const left = status.members.filter(({ state }) => state === 'left').map(({ name }) => name)
  const lines = [...describeLeader(status), '', whole]
  for (const member of present) lines.push('', describePeer(member, vitals.get(member.peerId)))
  if (left.length > 0) lines.push('', colors.dim(`left: ${left.toSorted(byName).join(', ')}`))
  lines.push(...worries(report))
  return lines.join('\n')
}

function describePeer(member: MemberStatus, vitals: PeerVitals | undefined): string {
  const { name, role, host, zone, weight, addresses, peerId } = member
  const head = `${colors.bold(name)}: ${health(member)}, ${role}`
  const place = zone === undefined ? host : `${host}, zone ${zone}`
  const known: Fact[] = [
    ['host', place],
    ['address', addresses.map(address => address.replace(/\/p2p\/.*/, '')).join(', ')],
    ['id', peerId],
  ]
  if (vitals === undefined) return `${head}\n${facts(known)}`
  const { store, slotsOwned, runningTasks, workers, cpuCores, version, upMs, pid } = vitals
  const { usedBytes, freeBytes, blocks, corrupt, missing, found, repaired, scrubDue, scrubOldestMs } = store
  const oldest = scrubOldestMs === undefined ? '' : `; the oldest was verified ${humanMs(scrubOldestMs)} ago`
  return `${head}\n${facts([
    ...known,
    ['capacity', humanBytes(usedBytes + freeBytes)],
    ['used', `${humanBytes(usedBytes)} (${share(usedBytes, usedBytes + freeBytes)}) by ${copies(blocks)}`],
    ['free', humanBytes(freeBytes)],
    ['slots', `${slotsOwned}, by weight ${weight}`],
    [
      'bad copies',
      `${corrupt} corrupt, ${missing} gone; ${found} found and ${repaired} mended since its start`,
    ],
    ['scrub', `${scrubDue} due${oldest}`],
    ['log', `entry ${vitals.appliedIndex}${vitals.space === 'ok' ? '' : `, disk: ${vitals.space}`}`],
    [
      'load',
      `${counted(runningTasks, 'task')} on ${counted(workers, 'worker')}, ${Math.round(cpuCores * 100)} % of a core`,
    ],
    ['memory', memoryOf(vitals)],
    [
      'shuffles',
      `${humanBytes(vitals.shuffles.fetchedBytes)} fetched from other peers, ${humanBytes(vitals.shuffles.wireBytes)} on the wire`,
    ],
    ['kept', keptOf(vitals)],
    ['spilled', `${humanBytes(vitals.spilledBytes)} to disk for want of memory, since its start`],
    ['process', `${pid}, shoal ${version}, up ${humanMs(upMs)}`],
  ])}`
}

function memoryOf({ rssBytes, rssPeakBytes, memoryBytes }: PeerVitals): string {
  const now = `${humanBytes(rssBytes)}, at most ${humanBytes(rssPeakBytes)} so far`
  return memoryBytes === undefined ? now : `${now}; told to take ${humanBytes(memoryBytes)} beside its base`
}

function keptOf({ kept: { partitions, memoryBytes, diskBytes } }: PeerVitals): string {
  const places = `${humanBytes(memoryBytes)} in memory, ${humanBytes(diskBytes)} on disk`
  return `${counted(partitions, 'partition')} of cached datasets, ${places}`
}

type Fact = [name: string, value: string]

function facts(all: readonly Fact[]): string {
  return all.map(([name, value]) => `  ${colors.dim(name.padEnd(14))} ${value}`).join('\n')
}

function copies(count: number): string {
  return `${count} ${count === 1 ? 'copy' : 'copies'}`
}

function share(part: number, whole: number): string {
  return whole === 0 ? '0 %' : `${((100 * part) / whole).toFixed(1)} %`
}
