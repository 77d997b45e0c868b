import type { Stream } from '@libp2p/interface'
import type { DuplexPort } from './frame-writer.ts'

/** Until what is queued must be written when a port closes; then it is cut. */
const CLOSE_TIMEOUT_MS = 1_000

/**
 * A libp2p stream as a channel's port. It never pauses the stream, for the channel's credit bounds what comes; and it
 * takes the end of either direction for the end of both. (Iterating the stream instead would have no back-pressure,
 * `onDrain()` resolves at once after its first time, and a killed remote looks like a clean close.)
 */
export function streamPort(stream: Stream): DuplexPort {
  return {
    send: bytes => stream.send(bytes),
    get queuedBytes() {
      return stream.writeBufferLength
    },
    onBytes(listener) {
      stream.addEventListener('message', event => {
        if (event.data instanceof Uint8Array) return listener(event.data)
        for (const bytes of event.data) listener(bytes)
      })
    },
    onDrain(listener) {
      stream.addEventListener('drain', listener)
    },
    onClose(listener) {
      let told = false
      const tell = (error?: Error): void => {
        if (told) return
        told = true
        listener(error)
      }
      stream.addEventListener('close', event => tell(event.error))
      stream.addEventListener('remoteCloseWrite', () => {
        tell()
        shut(stream)
      })
    },
    close: () => shut(stream),
    abort: error => stream.abort(error),
  }
}

function shut(stream: Stream): void {
  stream.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) }).catch((error: unknown) => {
    stream.abort(error instanceof Error ? error : new Error(String(error)))
  })
}
