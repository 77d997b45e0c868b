import type { PeerId } from '../../src/base/index.ts'
import { MemberProgram } from './member-program.ts'
import type { MemberPayload, MemberProgramInit } from './member-program.ts'
import { RaftProgram } from './raft-program.ts'
import type { RaftPayload, RaftProgramInit } from './raft-program.ts'
import type { Program, Surroundings } from './world.ts'

export interface PeerProgramInit {
  members: MemberProgramInit
  raft: RaftProgramInit
}

/** One whole peer as far as it is simulated: membership tells the log whom to feed. */
export class PeerProgram implements Program {
  readonly members: MemberProgram
  readonly raft: RaftProgram

  constructor(around: Surroundings, init: PeerProgramInit) {
    this.raft = new RaftProgram(around, init.raft)
    const onChange = (): void => {
      const live = this.members.machine
        .members()
        .filter(({ state }) => state === 'alive' || state === 'suspect')
      this.raft.setLive(live.map(({ peerId, labels }) => ({ peerId, host: labels.host })))
    }
    this.members = new MemberProgram(around, { ...init.members, onChange })
  }

  tick(): void {
    this.members.tick()
    this.raft.tick()
  }

  receive(from: PeerId, payload: MemberPayload | RaftPayload): void {
    if (payload.kind === 'raft') this.raft.receive(from, payload)
    else this.members.receive(from, payload)
  }

  connection(peer: PeerId, state: 'open' | 'closed'): void {
    this.members.connection(peer, state)
    this.raft.connection(peer, state)
  }

  crashed(): void {
    this.raft.crashed()
  }
}
