import { expect, it, vi } from 'vitest'
import { FileClient } from '../../../src/dht/index.ts'
import type { MeshAccess } from '../../../src/node/mesh-access.ts'
import { MeshFiles } from '../../../src/node/mesh-files.ts'

it('keeps the parts of an unfinished dataset again and again, a bounded number in a request, until it is done', async () => {
  const asked: string[][] = []
  let failures = 1
  const unused = (): never => {
    throw new Error('not asked for here')
  }
  const access: MeshAccess = {
    requester: unused,
    callLeader: unused,
    callPeer: unused,
    handle: unused,
    onLeaderChange: unused,
    onReattached: unused,
    callAttached: async ({ name }, head) => {
      expect(name).toBe('node.output.hold')
      if (failures-- > 0) throw new Error('no leader now')
      asked.push((head as { fileIds: string[] }).fileIds)
      return unanswered
    },
  }
  const nothingKept = { local: unused, keep: unused }
  const unanswered = Promise.withResolvers<never>().promise
  const files = new MeshFiles(new FileClient({ call: unused }), access, 'session', nothingKept, 5)
  const parts = Array.from({ length: 1_001 }, (_, part) => ({ file: `id${part} 1`, bytes: 1 }))
  const held = files.holdOutput(() => parts)
  await vi.waitFor(() => expect(asked).toHaveLength(1), 5_000)
  expect(asked[0]).toEqual(parts.slice(0, 1_000).map((_, part) => `id${part}`))
  held[Symbol.dispose]()
})
