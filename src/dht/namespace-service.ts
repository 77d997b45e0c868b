import type { PeerId, Transport } from '../base/index.ts'
import { accepted, replicaTargets, type FileServicePorts } from './file-ports.ts'
import {
  fileLocate,
  namespaceLs,
  namespaceMkdir,
  namespaceMv,
  namespaceRm,
  namespaceStat,
  namespaceUsage,
  PAGE_MAX,
  replicationStatus,
  type PartitionPlace,
} from './messages.ts'
import type { SessionSeq } from './namespace-commands.ts'
import type { BlockStatus } from './namespace-types.ts'
import { OperatorService } from './operator-service.ts'
import { handleRead } from './reads.ts'
import { replicationHealth } from './replication-health.ts'

/** Answers what clients ask about and do to directories and files, without touching their bytes. */
export class NamespaceService {
  readonly #ports: FileServicePorts

  constructor(ports: FileServicePorts) {
    this.#ports = ports
  }

  register(transport: Transport): void {
    new OperatorService(this.#ports).register(transport)
    transport.handle(namespaceMkdir, async ({ head: { path, parents, session }, signal }) => {
      const command = {
        type: 'mkdir' as const,
        path,
        ...(parents === true && { parents }),
        ...seqOf(session),
      }
      const { created } = accepted(await this.#ports.propose(command, { signal }))
      return { created, index: this.#ports.appliedIndex() }
    })
    transport.handle(namespaceMv, async ({ head: { from, to, session }, signal }) => {
      const { path } = accepted(
        await this.#ports.propose({ type: 'mv', from, to, ...seqOf(session) }, { signal }),
      )
      return { path, index: this.#ports.appliedIndex() }
    })
    transport.handle(namespaceRm, async ({ head: { path, recursive, skipTrash, session }, signal }) => {
      const command = {
        type: 'rm' as const,
        path,
        ...(recursive === true && { recursive }),
        ...(skipTrash !== true && { trash: true }),
        ...seqOf(session),
      }
      const { ok: _, ...removed } = accepted(await this.#ports.propose(command, { signal }))
      return { ...removed, index: this.#ports.appliedIndex() }
    })
    handleRead(transport, this.#ports, namespaceLs, (namespace, { head }) => {
      const { path, startAfter, limit = PAGE_MAX } = head
      const options = { limit: limit + 1, ...(startAfter !== undefined && { startAfter }) }
      const entries = namespace.list(path, options)
      return { entries: entries.slice(0, limit), more: entries.length > limit }
    })
    handleRead(transport, this.#ports, namespaceStat, (namespace, { head }) => namespace.stat(head.path))
    handleRead(transport, this.#ports, namespaceUsage, (namespace, { head }) => namespace.usage(head.path))
    transport.handle(replicationStatus, ({ head }) => replicationHealth(this.#ports, head.worstMax))
    handleRead(transport, this.#ports, fileLocate, (namespace, { head }) => {
      const { path, startAt = 0, limit = PAGE_MAX } = head
      const { fileId, sizeBytes } = namespace.stat(path)
      const blocks = namespace.blocksOf(path)
      const page = blocks.slice(startAt, startAt + limit)
      return {
        // `blocksOf` refused what is no file.
        fileId: fileId!,
        sizeBytes,
        partitions: blocks.length,
        places: page.map(block => this.#place(block)),
        more: startAt + page.length < blocks.length,
      }
    })
  }

  #place(block: BlockStatus): PartitionPlace {
    const isAlive = (peer: PeerId): boolean => this.#ports.isAlive(peer)
    const livePeers = this.#ports.peers().filter(peer => isAlive(peer.peerId)).length
    const alive = block.holders.filter(isAlive)
    const place: PartitionPlace = {
      index: block.index,
      blockId: block.blockId,
      offset: block.offset,
      bytes: block.sizeBytes,
      sha256: block.sha256,
      slot: block.slot,
      owners: replicaTargets(this.#ports, block.slot, block.replication),
      holders: [...alive, ...block.holders.filter(peer => !isAlive(peer))],
      live: alive.length,
      wanted: block.replication,
      healthy: alive.length >= Math.min(block.replication, livePeers),
    }
    if (block.lines !== undefined) place.lines = block.lines
    if (block.midLine === true) place.midLine = true
    return place
  }
}

function seqOf(session: SessionSeq | undefined): { session?: SessionSeq } {
  return session === undefined ? {} : { session }
}
