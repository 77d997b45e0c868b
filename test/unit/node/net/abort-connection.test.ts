import { expect, test } from 'vitest'
import { abortConnection } from '../../../../src/node/net/abort-connection.ts'

test('aborting a connection whose socket is closing does not throw, though libp2p does', () => {
  // What libp2p's connection does: the muxer says good-bye on the socket, which is closing already.
  const connection = {
    abort(): void {
      throw new Error('Cannot write to a stream that is closed')
    },
  }
  expect(() => connection.abort()).toThrow('closed')
  expect(() => abortConnection(connection, new Error('silent'))).not.toThrow()
})
