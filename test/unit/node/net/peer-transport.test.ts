import { randomBytes } from 'node:crypto'
import { afterEach } from 'vitest'
import { asMeshId, silentLogger } from '../../../../src/base/index.ts'
import { passingIdentity } from '../../../../src/node/net/identity.ts'
import { PeerTransport } from '../../../../src/node/net/peer-transport.ts'
import type { PeerTransportOptions } from '../../../../src/node/net/peer-transport.ts'
import { transportContract } from '../../../support/transport-contract.ts'

const secret = randomBytes(32)
const meshId = asMeshId('0123456789abcdef0123456789abcdef')
const opened: PeerTransport[] = []

afterEach(async () => {
  await Promise.all(opened.splice(0).map(transport => transport.close()))
})

async function start(options: Partial<PeerTransportOptions> = {}): Promise<PeerTransport> {
  const transport = await PeerTransport.open({
    key: (await passingIdentity()).key,
    secret,
    role: 'peer',
    meshId,
    name: 'test',
    logger: silentLogger,
    ...options,
  })
  opened.push(transport)
  return transport
}

transportContract('libp2p', async () => {
  const [a, b, client] = await Promise.all([start(), start(), start({ role: 'client', meshId: undefined })])
  a.addAddresses(b.self, b.addresses())
  client.addAddresses(b.self, b.addresses())
  return { a, b, client, killB: () => b.close(), [Symbol.asyncDispose]: () => Promise.resolve() }
})
