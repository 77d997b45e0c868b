import type { ElectionView, LeaderWhy } from '../node/index.ts'
import { attached } from './attached.ts'
import type { Settings } from './settings.ts'
import { table } from './table.ts'
import { colors, print, printJson } from './terminal.ts'
import { counted, humanMs, humanTime } from './units.ts'

/** `shoal leader --why`: answers without a leader, too. */
export async function showWhy(settings: Settings): Promise<void> {
  await attached(settings, async (mesh, signal) => {
    const why = await mesh.leaderWhy({ signal })
    if (settings.json) {
      printJson(why)
      return
    }
    const { members } = await mesh.status({ signal })
    print(describeWhy(why, new Map(members.map(({ peerId, name }) => [peerId, name]))))
  })
}

export function describeWhy({ here, leader }: LeaderWhy, names: ReadonlyMap<string, string>): string {
  const nameOf = (peer: string): string => names.get(peer) ?? peer.slice(-6)
  const story = leader ?? here
  const leads = story.role === 'leader'
  const lines: string[] = []
  const who = here.leader === undefined ? colors.red('nobody') : colors.bold(nameOf(here.leader))
  const ready = leads && !story.ready ? ', but has not committed an entry of its own yet' : ''
  lines.push(`${who} leads in term ${here.term}${ready}`)
  if (!leads && here.leader !== undefined && here.leader !== here.peerId)
    lines.push(colors.yellow(`${nameOf(here.leader)} does not answer: this is what ${here.name} knows`))
  lines.push(
    `voters: ${story.voters.map(nameOf).join(', ')}${story.votersCommitted ? '' : ' (not committed yet)'}`,
  )
  lines.push(...votes(story, nameOf))
  lines.push(
    `log of ${story.name}: committed ${story.commitIndex}, applied ${story.appliedIndex}, last ${story.lastIndex}, snapshot at ${story.snapshotIndex}`,
  )
  if (story.followers.length > 0) lines.push('', followers(story, nameOf))
  lines.push('', `what ${here.name} saw:`)
  for (const { atMs, term, leader: led, role, reason } of here.changes) {
    const whom = led === undefined ? 'nobody leads' : `${nameOf(led)} leads`
    lines.push(
      `  ${humanTime(atMs)}  term ${term}: ${whom}, ${here.name} is ${role}: ${named(reason, names)}`,
    )
  }
  return lines.join('\n')
}

/** Who elected it, or what this peer did instead. */
function votes(story: ElectionView, nameOf: (peer: string) => string): string[] {
  const { candidacy, votedFor, heardLeaderAgoMs, role, term, name } = story
  if (role === 'leader' && candidacy?.term === term) {
    const refused =
      candidacy.refused.length === 0 ? '' : `; against: ${candidacy.refused.map(nameOf).join(', ')}`
    return [
      `elected ${humanMs(candidacy.agoMs)} ago by ${candidacy.granted.map(nameOf).join(', ')}${refused}`,
    ]
  }
  const lines: string[] = []
  if (votedFor !== undefined) lines.push(`${name} voted for ${nameOf(votedFor)} in term ${term}`)
  if (candidacy !== undefined) {
    const asked = `${name} stood for election in term ${candidacy.term}, ${humanMs(candidacy.agoMs)} ago`
    lines.push(
      `${asked}: ${counted(candidacy.granted.length, 'vote')} for, ${candidacy.refused.length} against`,
    )
  }
  lines.push(
    heardLeaderAgoMs === undefined
      ? `${name} has heard no leader since it started`
      : `${name} heard a leader ${humanMs(heardLeaderAgoMs)} ago`,
  )
  return lines
}

function followers({ followers: fed, lastIndex }: ElectionView, nameOf: (peer: string) => string): string {
  const rows = fed
    .toSorted((a, b) => Number(b.voter) - Number(a.voter) || (nameOf(a.peerId) < nameOf(b.peerId) ? -1 : 1))
    .map(({ peerId, voter, match, state, silentMs, forgot }) => [
      nameOf(peerId),
      voter ? 'voter' : 'learner',
      forgot ? colors.red('lost its log') : state,
      String(match),
      String(lastIndex - match),
      `${humanMs(silentMs)} ago`,
    ])
  return table(
    ['FED', 'ROLE', 'STATE', 'HAS', 'BEHIND', 'HEARD'].map(title => ({ title })),
    rows,
  )
}

/** Reasons name peers by their ids, which nobody knows by heart. */
function named(reason: string, names: ReadonlyMap<string, string>): string {
  let text = reason
  for (const [peer, name] of names) text = text.replaceAll(peer, name)
  return text
}
