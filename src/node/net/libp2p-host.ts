import { gossipsub } from '@chainsafe/libp2p-gossipsub'
import type { GossipSub } from '@chainsafe/libp2p-gossipsub'
import { identify } from '@libp2p/identify'
import type { Identify } from '@libp2p/identify'
import type { Libp2p, PrivateKey } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import type { TCPSocketOptions } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { ShoalError } from '../../base/index.ts'
import type { Logger } from '../../base/index.ts'
import { admitted } from './admission.ts'
import { meshTls } from './mesh-tls.ts'

export interface HostOptions {
  key: PrivateKey
  /** Multiaddrs, as `/ip4/127.0.0.1/tcp/0`. A client's are ignored: it listens nowhere. */
  listen: readonly string[]
  /** Multiaddrs told to others instead. @default those it listens on */
  announce?: readonly string[]
  /** Local IP address of dials. @default the system's choice */
  dialFrom?: string
  /** Connections with these peers are neither made nor taken. @default none */
  refuses?: (peer: string) => boolean
  /** The mesh's secret. */
  secret: Uint8Array
  /** A client runs no gossip. */
  role: 'peer' | 'client'
  logger: Logger
}

export type HostServices = {
  identify: Identify
  /** Only of a peer. */
  pubsub?: GossipSub
}

/** Passed on to net.connect as they are; libp2p's own type names only some of its options. */
interface DialOptions extends TCPSocketOptions {
  localAddress?: string
}

export type Host = Libp2p<HostServices>

/** Greater and a stream's read buffer (4 MiB) can overflow, which resets it. */
const STREAM_WINDOW_BYTES_MAX = 1 << 20
/** Per connection: one frame channel, gossip, identify, and room for what is closing. */
const STREAMS_MAX = 64

/**
 * A started libp2p node: TCP, TLS with the mesh's admission, yamux, gossipsub. Every setting below was measured.
 * @throws PORT_TAKEN when an address is in use, CONFIG_INVALID when it cannot be listened on.
 */
export async function createHost(options: HostOptions): Promise<Host> {
  const isPeer = options.role === 'peer'
  const listen = isPeer ? [...options.listen] : []
  const { announce, dialFrom, refuses = () => false } = options
  const dialOpts: DialOptions = dialFrom === undefined ? {} : { localAddress: dialFrom }
  let host: Host | undefined
  try {
    host = await createLibp2p<HostServices>({
      start: false,
      privateKey: options.key,
      addresses: { listen, ...(announce !== undefined && { announce: [...announce] }) },
      transports: [tcp({ listenOpts: { noDelay: true }, dialOpts })],
      connectionEncrypters: [admitted(meshTls(), options.secret, options.logger)],
      streamMuxers: [
        yamux({
          maxInboundStreams: STREAMS_MAX,
          maxOutboundStreams: STREAMS_MAX,
          streamOptions: { maxStreamWindowSize: STREAM_WINDOW_BYTES_MAX },
        }),
      ],
      // All peers of a local mesh share one host name: the defaults (5 and 10) make its dials fail.
      connectionManager: { inboundConnectionThreshold: 10_000, maxIncomingPendingConnections: 1_000 },
      connectionGater: {
        denyDialPeer: peer => refuses(peer.toString()),
        denyInboundEncryptedConnection: peer => refuses(peer.toString()),
      },
      // Membership is the failure detector; this one tears a loaded mesh apart.
      connectionMonitor: { enabled: false },
      services: { identify: identify(), ...(isPeer && { pubsub: gossip() }) },
    })
    await host.start()
    return host
  } catch (error) {
    await host?.stop()
    const reason = error instanceof Error ? error.message : String(error)
    const address = listen.join(', ')
    if (reason.includes('EADDRINUSE')) {
      throw new ShoalError('PORT_TAKEN', { address }, `${address} is in use by another process`, {
        cause: error,
      })
    }
    throw new ShoalError(
      'CONFIG_INVALID',
      { option: 'listen', reason },
      `cannot listen on ${address}: ${reason}`,
      {
        cause: error,
      },
    )
  }
}

function gossip() {
  return gossipsub({
    emitSelf: false,
    allowPublishToZeroTopicPeers: true,
    floodPublish: false,
    // The default counts peers that share an address as an attack: from 16 local peers on, nothing is delivered.
    scoreParams: { IPColocationFactorWeight: 0 },
  })
}
