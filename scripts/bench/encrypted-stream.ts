/**
 * How fast one encrypted libp2p stream of a peer's own host is between two processes: what no transfer between peers can
 * beat. Both ends are processes of their own, tuned as peers are: `receive BYTES` starts the other, `send ADDRESS BYTES`.
 */
import { fileURLToPath } from 'node:url'
import { multiaddr } from '@multiformats/multiaddr'
import { silentLogger } from '../../src/base/index.ts'
import { tuneForStreams } from '../../src/node/index.ts'
import { passingIdentity } from '../../src/node/net/index.ts'
import { createHost, type Host } from '../../src/node/net/libp2p-host.ts'
import { streamPort } from '../../src/node/net/stream-port.ts'
import { run } from './bench-mesh.ts'

const SCRIPT = fileURLToPath(import.meta.url)
const PROTOCOL = '/shoal-bench/stream/1'
const CHUNK = new Uint8Array(256 * 1024)

async function host(role: 'peer' | 'client'): Promise<Host> {
  const { key } = await passingIdentity()
  const listen = ['/ip4/127.0.0.1/tcp/0']
  return await createHost({ key, listen, secret: new Uint8Array(32), role, logger: silentLogger })
}

/** The time from the first byte to the last, in ms. */
export async function encryptedStreamMs(bytes: number): Promise<number> {
  return Number(await run([SCRIPT, 'receive', String(bytes)]))
}

async function receive(bytes: number): Promise<number> {
  const receiver = await host('peer')
  try {
    const received = Promise.withResolvers<number>()
    await receiver.handle(PROTOCOL, stream => {
      const port = streamPort(stream)
      const startMs = performance.now()
      let left = bytes
      port.onBytes(chunk => {
        left -= chunk.byteLength
        if (left > 0) return
        received.resolve(performance.now() - startMs)
        port.send(new Uint8Array(1))
      })
    })
    const address = receiver.getMultiaddrs()[0]!.toString()
    const sender = run([SCRIPT, 'send', address, String(bytes)])
    const [tookMs] = await Promise.all([received.promise, sender])
    return tookMs
  } finally {
    await receiver.stop()
  }
}

async function send(address: string, bytes: number): Promise<void> {
  const sender = await host('client')
  const port = streamPort(await sender.dialProtocol(multiaddr(address), PROTOCOL))
  const done = Promise.withResolvers<void>()
  port.onBytes(() => done.resolve())
  let drained = Promise.withResolvers<void>()
  port.onDrain(() => drained.resolve())
  for (let left = bytes; left > 0; left -= CHUNK.byteLength) {
    drained = Promise.withResolvers()
    if (!port.send(CHUNK.subarray(0, Math.min(left, CHUNK.byteLength)))) await drained.promise
  }
  await done.promise
  await sender.stop()
}

if (process.argv[1] === SCRIPT) {
  tuneForStreams()
  const [, , part, ...rest] = process.argv
  if (part === 'receive') console.log(await receive(Number(rest[0])))
  else await send(rest[0]!, Number(rest[1]))
}
