import { expect, test } from 'vitest'
import { z } from 'zod'
import { message } from '../../../../src/base/index.ts'
import { MemoryNetwork } from '../../../support/memory-transport.ts'
import { transportContract } from '../../../support/transport-contract.ts'

transportContract('memory', async () => {
  const network = new MemoryNetwork()
  return {
    a: network.join('a'),
    b: network.join('b'),
    client: network.join('client', 'client'),
    killB: () => Promise.resolve(network.kill('b')),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
})

const hello = message({
  name: 'test.hello',
  request: z.object({}),
  reply: z.object({}),
  from: 'everyone',
})

test('memory: peers cut off from each other cannot call, others can, and healing restores it', async () => {
  const network = new MemoryNetwork()
  const [a, b, c] = [network.join('a'), network.join('b'), network.join('c')]
  for (const peer of [a, b, c]) peer.handle(hello, () => ({}))
  await a.call(b.self, hello, {})
  const closed = new Promise(resolve => {
    b.onConnection((peer, state) => resolve(`${peer} ${state}`))
  })
  network.block('a', 'b')
  expect(await closed).toBe('a closed')
  await expect(a.call(b.self, hello, {})).rejects.toMatchObject({ code: 'UNREACHABLE' })
  await a.call(c.self, hello, {})
  network.heal()
  await a.call(b.self, hello, {})
})

test('memory: a restarted peer has no handlers, and its old transport is dead', async () => {
  const network = new MemoryNetwork()
  const [a, old] = [network.join('a'), network.join('b')]
  old.handle(hello, () => ({}))
  a.handle(hello, () => ({}))
  network.kill('b')
  network.join('b')
  await expect(a.call(old.self, hello, {})).rejects.toMatchObject({ code: 'UNKNOWN_MESSAGE' })
  await expect(old.call(a.self, hello, {})).rejects.toMatchObject({ code: 'UNREACHABLE' })
})
