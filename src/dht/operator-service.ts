import { asFileId, below, ShoalError, type Random, type Transport } from '../base/index.ts'
import { accepted, type FileServicePorts } from './file-ports.ts'
import {
  namespaceExpunge,
  namespaceOpenWrites,
  namespaceQuota,
  namespaceSetAttributes,
  namespaceSetQuota,
  namespaceSetReplication,
  namespaceSnapshot,
  namespaceSnapshots,
  namespaceTouch,
  namespaceTrash,
  namespaceUndelete,
  OPERATOR_PAGE_MAX,
} from './namespace-messages.ts'
import type { OpenWriteStatus } from './namespace-types.ts'
import { handleRead } from './reads.ts'

/** Answers what people who run a mesh ask and order: trash, quotas, snapshots, copies, metadata, open writes. */
export class OperatorService {
  readonly #ports: FileServicePorts

  constructor(ports: FileServicePorts) {
    this.#ports = ports
  }

  register(transport: Transport): void {
    this.#registerTrash(transport)
    this.#registerSnapshots(transport)
    handleRead(transport, this.#ports, namespaceQuota, (namespace, { head }) => namespace.quota(head.path))
    transport.handle(namespaceSetQuota, async ({ head, signal }) => {
      accepted(await this.#ports.propose({ type: 'set-quota', ...given(head) }, { signal }))
      return { index: this.#ports.appliedIndex() }
    })
    transport.handle(namespaceSetReplication, async ({ head, signal }) => {
      const { files } = accepted(
        await this.#ports.propose({ type: 'set-replication', ...given(head) }, { signal }),
      )
      return { files, index: this.#ports.appliedIndex() }
    })
    transport.handle(namespaceSetAttributes, async ({ head, signal }) => {
      const { entries } = accepted(
        await this.#ports.propose({ type: 'set-attributes', ...given(head) }, { signal }),
      )
      return { entries, index: this.#ports.appliedIndex() }
    })
    transport.handle(namespaceTouch, async ({ head, signal }) => {
      const fileId = newFileId(this.#ports.random)
      const { created } = accepted(
        await this.#ports.propose({ type: 'touch', fileId, ...given(head) }, { signal }),
      )
      return { created, index: this.#ports.appliedIndex() }
    })
    handleRead(transport, this.#ports, namespaceOpenWrites, (namespace, { head }) => {
      const { path, token, startAt = 0 } = head
      const writes = namespace.openWritesAt(path, token)
      // One write is looked at block by block; of many only the first page, without theirs.
      if (token === undefined) {
        const shown = writes.slice(startAt, startAt + OPERATOR_PAGE_MAX)
        return {
          writes: shown.map(write => openWriteEntry({ ...write, blocks: [] }, write.blocks.length)),
          more: startAt + shown.length < writes.length,
        }
      }
      const more = writes.some(write => write.blocks.length > startAt + OPERATOR_PAGE_MAX)
      const page = writes.slice(0, 1).map(write => {
        const blocks = write.blocks.slice(startAt, startAt + OPERATOR_PAGE_MAX)
        return openWriteEntry({ ...write, blocks }, write.blocks.length)
      })
      return { writes: page, more }
    })
  }

  #registerTrash(transport: Transport): void {
    handleRead(transport, this.#ports, namespaceTrash, (namespace, { head }) => {
      const { startAfterMs, limit = OPERATOR_PAGE_MAX } = head
      const options = { limit: limit + 1, ...(startAfterMs !== undefined && { startAfterMs }) }
      const entries = namespace.trash(options)
      return { entries: entries.slice(0, limit), more: entries.length > limit }
    })
    transport.handle(namespaceUndelete, async ({ head, signal }) => {
      const { path } = accepted(await this.#ports.propose({ type: 'undelete', ...given(head) }, { signal }))
      return { path, index: this.#ports.appliedIndex() }
    })
    transport.handle(namespaceExpunge, async ({ head, signal }) => {
      const { entries, files, more } = accepted(
        await this.#ports.propose({ type: 'expunge', ...given(head) }, { signal }),
      )
      return { entries, files, more, index: this.#ports.appliedIndex() }
    })
  }

  #registerSnapshots(transport: Transport): void {
    handleRead(transport, this.#ports, namespaceSnapshots, (namespace, { head }) => ({
      snapshots: namespace.snapshots(head.path),
    }))
    transport.handle(namespaceSnapshot, async ({ head, signal }) => {
      const { action, to, ...rest } = given(head)
      const index = (): number => this.#ports.appliedIndex()
      switch (action) {
        case 'create': {
          const { path } = accepted(
            await this.#ports.propose({ type: 'create-snapshot', ...rest }, { signal }),
          )
          return { path, index: index() }
        }
        case 'rename': {
          if (to === undefined) {
            const details = { type: namespaceSnapshot.name, reason: 'the new name is missing' }
            throw new ShoalError('BAD_MESSAGE', details)
          }
          const { path } = accepted(
            await this.#ports.propose({ type: 'rename-snapshot', ...rest, to }, { signal }),
          )
          return { path, index: index() }
        }
        case 'delete':
          accepted(await this.#ports.propose({ type: 'delete-snapshot', ...rest }, { signal }))
          return { index: index() }
      }
    })
  }
}

/** The same without what nobody said: commands have a field or have it not. */
function given<Head extends object>(head: Head): { [Key in keyof Head]: Exclude<Head[Key], undefined> } {
  const entries = Object.entries(head).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [Key in keyof Head]: Exclude<Head[Key], undefined> }
}

function openWriteEntry(write: OpenWriteStatus, blockCount: number) {
  const { path, fileId, token, append, expiresAtMs, blocks } = write
  return {
    path,
    fileId,
    ...(token !== undefined && { token }),
    append,
    expiresAtMs,
    blocks: blocks.map(({ index, sizeBytes, sha256 }) => ({ index, sizeBytes, sha256 })),
    blockCount,
  }
}

function newFileId(random: Random) {
  const words = Array.from({ length: 4 }, () => below(random, 0x1_0000_0000).toString(16).padStart(8, '0'))
  return asFileId(words.join(''))
}
