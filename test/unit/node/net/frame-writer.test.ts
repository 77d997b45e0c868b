import { expect, test } from 'vitest'
import { FrameWriter } from '../../../../src/node/net/frame-writer.ts'
import type { DuplexPort } from '../../../../src/node/net/frame-writer.ts'

test('what is let go while the port is full is never written, and the rest keeps its turn', () => {
  let drain = (): void => {}
  const port: DuplexPort = {
    send: () => false,
    queuedBytes: 0,
    onBytes: () => {},
    onDrain: listener => {
      drain = listener
    },
    onClose: () => {},
    close: () => {},
    abort: () => {},
  }
  const writer = new FrameWriter({ port, remote: 'r', outboundBytesMax: 1_000, onFailure: () => {} })
  const ran: string[] = []
  const write = (name: string) => (): void => {
    ran.push(name)
  }
  // Larger than a batch: it goes to the port at once, which is full by it.
  writer.whenWritable(() => writer.write(new Uint8Array(100_000)))
  const [first, cancelled, last] = [write('first'), write('cancelled'), write('last')]
  for (const each of [first, cancelled, last]) expect(writer.whenWritable(each)).toBe(false)
  writer.forget(cancelled)
  drain()
  writer.close()
  expect(ran).toEqual(['first', 'last'])
})
