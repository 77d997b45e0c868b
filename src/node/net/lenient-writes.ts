import { StreamStateError, type MessageStream } from '@libp2p/interface'

/**
 * Makes what is written to a connection that has ended be lost, as it would be on the wire, instead of an error: the
 * muxer writes from timers and microtasks (a stream that is being opened, a ping, a good-bye), where nobody could catch
 * one and it would end the process. Whoever uses the connection learns of its end from its `close` event.
 */
export function lenientWrites(connection: MessageStream): void {
  const send = connection.send.bind(connection)
  connection.send = data => {
    try {
      return send(data)
    } catch (error) {
      if (error instanceof StreamStateError) return true
      throw error
    }
  }
}
