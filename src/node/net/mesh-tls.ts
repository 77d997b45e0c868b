import { Socket } from 'node:net'
import { connect, TLSSocket, type ConnectionOptions, type TLSSocketOptions } from 'node:tls'
import type {
  ConnectionEncrypter,
  MessageStream,
  PeerId as Libp2pPeerId,
  PrivateKey,
  SecureConnectionOptions,
  SecuredConnection,
  StreamMessageEvent,
} from '@libp2p/interface'
import { generateCertificate, toMessageStream, toNodeDuplex } from '@libp2p/tls/utils'
import { AbstractMessageStream } from '@libp2p/utils'
import { certifiedPeer } from './certified-peer.ts'

/** As in the libp2p TLS specification: both ends speak what @libp2p/tls speaks. */
const PROTOCOL = '/tls/1.0.0'
/** Muxers are negotiated afterwards, behind the admission. */
const ALPN = 'libp2p'
/** Between a handshake's two halves a process may stand still for a moment. */
const HANDSHAKE_TIMEOUT_MS = 10_000
/** Plain bytes that wait in the socket before a writer has to: a few frames of a body. */
const HIGH_WATER_MARK_BYTES = 512 * 1024

export interface MeshTlsComponents {
  privateKey: PrivateKey
}

/**
 * TLS 1.3 as libp2p specifies it, with the certificates of @libp2p/tls, different in two ways:
 * - The socket itself is encrypted, by Node, where the library goes through a JavaScript stream: twice the throughput.
 * - The dates of certificates carry nothing: peers are known by the signature, and clocks may be wrong by any amount.
 *
 * One certificate serves all connections of a process, as in go-libp2p.
 */
export function meshTls(): (components: MeshTlsComponents) => ConnectionEncrypter {
  return ({ privateKey }) => {
    let made: ReturnType<typeof generateCertificate> | undefined
    const secure = async (
      connection: MessageStream,
      isServer: boolean,
      options: SecureConnectionOptions = {},
    ): Promise<SecuredConnection> => {
      made ??= generateCertificate(privateKey)
      const secured: TLSSocketOptions & ConnectionOptions = {
        ...(await made),
        minVersion: 'TLSv1.3',
        maxVersion: 'TLSv1.3',
        // Self-signed: the certificate is checked below.
        rejectUnauthorized: false,
        ALPNProtocols: [ALPN],
      }
      const inner = (await takeSocket(connection)) ?? toNodeDuplex(connection)
      const socket = isServer
        ? new TLSSocket(inner, { ...secured, isServer, requestCert: true, ...HIGH_WATER_MARK })
        : connect({ socket: inner, ...secured, ...HIGH_WATER_MARK })
      inner.on('error', error => socket.destroy(error))
      const signal = AbortSignal.any([
        AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS),
        ...(options.signal === undefined ? [] : [options.signal]),
      ])
      try {
        const remotePeer = await handshake(socket, options.remotePeer, signal)
        return { remotePeer, connection: toMessageStream(connection, socket) }
      } catch (error) {
        const failure = error instanceof Error ? error : new Error(String(error))
        socket.destroy()
        connection.abort(failure)
        throw failure
      }
    }
    return {
      protocol: PROTOCOL,
      secureInbound: async (connection, options) => await secure(connection, true, options),
      secureOutbound: async (connection, options) => await secure(connection, false, options),
    }
  }
}

/** Not in the types of `connect`, but passed on to the stream. */
const HIGH_WATER_MARK = { highWaterMark: HIGH_WATER_MARK_BYTES }

async function handshake(
  socket: TLSSocket,
  expected: Libp2pPeerId | undefined,
  signal: AbortSignal,
): Promise<Libp2pPeerId> {
  const done = Promise.withResolvers<void>()
  const onAbort = (): void => done.reject(signal.reason)
  const onClose = (): void => done.reject(new Error('the connection closed during the TLS handshake'))
  socket.once('secure', done.resolve)
  // Stays: an error later on is followed by `close`, which ends the connection.
  socket.on('error', done.reject)
  socket.once('close', onClose)
  signal.addEventListener('abort', onAbort)
  try {
    signal.throwIfAborted()
    await done.promise
  } finally {
    socket.off('close', onClose)
    signal.removeEventListener('abort', onAbort)
  }
  return await certifiedPeer(socket.getPeerX509Certificate(), expected)
}

/**
 * The TCP socket below a connection, with what has been read from it already put back. Not part of libp2p's interface: where there
 * is none, the caller goes the library's way.
 */
async function takeSocket(connection: MessageStream): Promise<Socket | undefined> {
  if (!(connection instanceof AbstractMessageStream) || connection.readStatus !== 'readable') return undefined
  if (!('socket' in connection) || !(connection.socket instanceof Socket)) return undefined
  const { socket } = connection
  socket.pause()
  socket.removeAllListeners('data')
  // The remote may have begun its handshake behind the negotiation; a connection hands that to its first listener.
  const early: Uint8Array[] = []
  const take = ({ data }: StreamMessageEvent): void => void early.push(data.subarray())
  connection.addEventListener('message', take)
  await Promise.resolve()
  connection.removeEventListener('message', take)
  if (early.length > 0) socket.unshift(Buffer.concat(early))
  return socket
}
