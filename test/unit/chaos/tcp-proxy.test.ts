import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { seededRandom } from '../../../src/base/index.ts'
import { LinkTable, TcpProxy } from '../../../src/chaos/index.ts'
import { waitFor } from '../../support/wait-for.ts'

const ALICE = '127.0.0.2'

let echo: Server
let echoPort = 0
let faults: LinkTable
let proxy: TcpProxy
const sockets: Socket[] = []

beforeEach(async () => {
  echo = createServer({ allowHalfOpen: true }, socket => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  echo.listen(0, '127.0.0.1')
  await once(echo, 'listening')
  echoPort = (echo.address() as AddressInfo).port
  faults = new LinkTable()
  proxy = await TcpProxy.listen({
    host: '127.0.0.1',
    target: () => ({ host: '127.0.0.1', port: echoPort }),
    name: 'bob',
    nameOf: address => (address === ALICE ? 'alice' : undefined),
    faults,
    random: seededRandom(1),
  })
})

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await proxy[Symbol.asyncDispose]()
  echo.close()
})

/** A connection through the proxy, and all that has come back on it. */
async function dial(
  localAddress = ALICE,
): Promise<{ socket: Socket; got: () => Buffer; ended: () => string }> {
  const socket = connect({ port: proxy.port, host: '127.0.0.1', localAddress })
  sockets.push(socket)
  const chunks: Buffer[] = []
  let ended = ''
  socket.on('data', chunk => chunks.push(chunk))
  socket.on('end', () => (ended = 'end'))
  socket.on('error', (error: NodeJS.ErrnoException) => (ended = error.code ?? 'error'))
  await Promise.race([once(socket, 'connect'), once(socket, 'close')])
  return { socket, got: () => Buffer.concat(chunks), ended: () => ended }
}

async function roundTripMs(socket: Socket): Promise<number> {
  const startMs = performance.now()
  socket.write('x')
  await once(socket, 'data')
  return performance.now() - startMs
}

test('without faults every byte goes through, both ways, and the end too', async () => {
  const { socket, got, ended } = await dial()
  const bytes = randomBytes(8 << 20)
  socket.end(bytes)
  await waitFor('the end', () => ended() === 'end', 10_000)
  expect(got().equals(bytes)).toBe(true)
  await waitFor('the connection to be forgotten', () => proxy.connections === 0)
})

test('a delay is of one direction, and goes when it is taken away', async () => {
  const { socket } = await dial()
  faults.set('alice', 'bob', { delayMs: 150 })
  expect(await roundTripMs(socket)).toBeGreaterThan(145)
  faults.set('bob', 'alice', { delayMs: 150 })
  expect(await roundTripMs(socket)).toBeGreaterThan(295)
  faults.heal()
  expect(await roundTripMs(socket)).toBeLessThan(145)
})

test('who has no name has no faults', async () => {
  faults.between(['alice'], ['bob'], { cut: true })
  const { socket } = await dial('127.0.0.3')
  expect(await roundTripMs(socket)).toBeLessThan(1_000)
})

test('jitter never changes the order of bytes', async () => {
  const { socket, got } = await dial()
  faults.set('alice', 'bob', { jitterMs: 20 })
  const sent: Buffer[] = []
  for (let i = 0; i < 50; i++) {
    sent.push(Buffer.from(`${i},`))
    socket.write(sent.at(-1)!)
    await new Promise(setImmediate)
  }
  const whole = Buffer.concat(sent)
  await waitFor('all of it', () => got().length === whole.length)
  expect(got().equals(whole)).toBe(true)
})

test('a stall holds one direction and loses nothing', async () => {
  const { socket, got } = await dial()
  const [served] = await Promise.all([
    waitFor('the far end', () => sockets.find(other => other !== socket)),
    roundTripMs(socket),
  ])
  faults.set('alice', 'bob', { stall: true })
  socket.write('held')
  // The other direction is as before.
  served.write('free')
  await waitFor('what is not stalled', () => got().toString() === 'xfree')
  expect(served.bytesRead).toBe(1)
  faults.heal()
  await waitFor('what was held', () => got().toString() === 'xfreeheld')
})

test('a stalled sender is stopped rather than buffered without end', async () => {
  const { socket } = await dial()
  faults.set('alice', 'bob', { stall: true })
  const [piece, pieces] = [randomBytes(256 << 10), 256]
  for (let i = 0; i < pieces; i++) socket.write(piece)
  let before = -1
  // The kernel's buffers and the proxy's fill up, and then nothing moves.
  await waitFor('it to stand still', () => {
    const stands = socket.writableLength === before
    before = socket.writableLength
    return stands
  })
  expect(socket.writableLength).toBeGreaterThan((piece.length * pieces) / 2)
})

test('a rate is kept', async () => {
  const { socket, got } = await dial()
  faults.set('alice', 'bob', { bytesPerSecond: 400_000 })
  const startMs = performance.now()
  socket.write(randomBytes(200_000))
  await waitFor('all of it', () => got().length === 200_000, 10_000)
  const tookMs = performance.now() - startMs
  expect(tookMs).toBeGreaterThan(400)
  expect(tookMs).toBeLessThan(2_000)
})

test('a cut resets what is open and refuses what is new, until it heals', async () => {
  const { socket, ended } = await dial()
  await roundTripMs(socket)
  faults.set('bob', 'alice', { cut: true })
  await waitFor('the reset', () => ended() === 'ECONNRESET')
  expect(proxy.connections).toBe(0)
  const again = await dial().catch((error: NodeJS.ErrnoException) => ({ ended: () => error.code }))
  await waitFor('the refusal', () => again.ended() === 'ECONNRESET')
  faults.heal()
  const { socket: healed } = await dial()
  expect(await roundTripMs(healed)).toBeLessThan(1_000)
})

test('a target that does not answer closes the connection', async () => {
  echo.close()
  const { ended } = await dial()
  await waitFor('the reset', () => ended() === 'ECONNRESET')
})
