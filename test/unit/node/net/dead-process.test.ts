import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { z } from 'zod'
import { asMeshId, message, silentLogger } from '../../../../src/base/index.ts'
import type { PeerId } from '../../../../src/base/index.ts'
import { passingIdentity, PeerTransport } from '../../../../src/node/net/index.ts'

const secret = Buffer.alloc(32, 5)
const meshId = asMeshId('0'.repeat(32))
const url = (path: string) =>
  JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../../..', path)).href)

/** A peer in its own process that answers with a body without end. */
const script = `
  const { z } = await import('zod')
  const { asMeshId, message, silentLogger } = await import(${url('src/base/index.ts')})
  const { passingIdentity, PeerTransport } = await import(${url('src/node/net/index.ts')})
  const transport = await PeerTransport.open({
    key: (await passingIdentity()).key, secret: Buffer.alloc(32, 5), role: 'peer', meshId: asMeshId('0'.repeat(32)),
    name: 'child', logger: silentLogger,
  })
  const endless = async function* () { while (true) yield new Uint8Array(100000) }
  transport.handle(
    message({ name: 'test.endless', request: z.object({}), reply: z.object({}), from: 'everyone' }),
    () => Promise.resolve({ head: {}, body: endless() }))
  console.log(transport.addresses()[0])`

const endless = message({
  name: 'test.endless',
  request: z.object({}),
  reply: z.object({}),
  from: 'everyone',
})

let child: ChildProcess
let transport: PeerTransport

afterEach(async () => {
  const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
  child.kill('SIGKILL')
  await exited
  await transport.close()
})

/** A stream from a new process, some of it read. */
async function streaming() {
  child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: join(import.meta.dirname, '../../../..'),
  })
  transport = await PeerTransport.open({
    key: (await passingIdentity()).key,
    secret,
    role: 'peer',
    meshId,
    name: 'parent',
    logger: silentLogger,
    channelLimits: { pingIntervalMs: 100, idleLimitMs: 600 },
  })
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  const peer = await transport.dialAddress(line.toString().trim())
  const reply = await transport.call(peer, endless, {})
  const body = reply.body[Symbol.asyncIterator]()
  for (let i = 0; i < 50; i++) expect((await body.next()).done).toBe(false)
  const closed = new Promise<[PeerId, string]>(resolve => {
    transport.onConnection((who, state) => resolve([who, state]))
  })
  return { peer, body, closed }
}

async function readOn(body: AsyncIterator<Uint8Array>): Promise<void> {
  while ((await body.next()).done !== true) continue
}

test('a body from a process that is killed throws CONNECTION_LOST, it does not end', async () => {
  const { peer, body, closed } = await streaming()
  const reading = expect(readOn(body)).rejects.toMatchObject({ code: 'CONNECTION_LOST', details: { peer } })
  child.kill('SIGKILL')
  await reading
  expect(await closed).toEqual([peer, 'closed'])
})

test('a body from a process that is stopped throws CONNECTION_LOST after the idle limit', async () => {
  const { peer, body, closed } = await streaming()
  const reading = expect(readOn(body)).rejects.toMatchObject({ code: 'CONNECTION_LOST', details: { peer } })
  const startMs = performance.now()
  child.kill('SIGSTOP')
  await reading
  expect(performance.now() - startMs).toBeGreaterThan(500)
  expect(await closed).toEqual([peer, 'closed'])
})
