import type { Connection } from '@libp2p/interface'

/**
 * Ends a connection at once. libp2p's own `abort` first tells the remote, which throws when the socket is closed or about
 * to be: then all that was wanted is under way. Thrown out of a timer it would end the process.
 */
export function abortConnection(connection: Pick<Connection, 'abort'>, error: Error): void {
  try {
    connection.abort(error)
  } catch {
    // Closing already.
  }
}
