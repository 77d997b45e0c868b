import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type {
  ConnectionEncrypter,
  MessageStream,
  PeerId as Libp2pPeerId,
  SecureConnectionOptions,
  SecuredConnection,
} from '@libp2p/interface'
import { byteStream } from '@libp2p/utils'
import { shortPeer } from '../../base/index.ts'
import type { Logger } from '../../base/index.ts'
import { lenientWrites } from './lenient-writes.ts'

/** Starts the message of every error of a failed admission: libp2p keeps nothing else of an error. */
export const ADMISSION_FAILED = 'mesh admission failed'

const NONCE_BYTES = 32
const PROOF_BYTES = 32
/** What a listener answers to a wrong proof, so that the dialler can say why it was turned away. */
const REFUSAL = Buffer.alloc(PROOF_BYTES)
/** Until a connection must be admitted; one that stays silent holds a slot that long. */
const ADMISSION_TIMEOUT_MS = 5_000
/** To write the refusal out before the connection is torn down. */
const REFUSAL_TIMEOUT_MS = 500
const TLS_RECORD_BYTES_MAX = 16 * 1024
const LABEL = 'shoal admission 1'

export interface AdmissionComponents {
  peerId: Libp2pPeerId
}

type EncrypterFactory<Components> = (components: Components) => ConnectionEncrypter

/**
 * Wraps an encrypter so that both ends prove the mesh's secret over the encrypted stream before there is a muxer: an
 * outsider gets no protocol, no identify, no gossip. The proof is an HMAC over the prover's role, both authenticated
 * peer ids and both nonces, so that it can be neither relayed nor reflected nor replayed. The listener proves itself
 * only after it has checked the dialler.
 */
export function admitted<Components>(
  inner: EncrypterFactory<Components>,
  secret: Uint8Array,
  logger: Logger,
): EncrypterFactory<Components & AdmissionComponents> {
  return components => {
    const encrypter = inner(components)
    const self = components.peerId.toString()
    const gate = (secured: SecuredConnection, dialler: boolean, options?: SecureConnectionOptions) =>
      prove(secured, { secret, self, dialler, logger, signal: options?.signal })
    const withoutMuxer = (options?: SecureConnectionOptions) => ({
      ...options,
      skipStreamMuxerNegotiation: true,
    })
    return {
      protocol: `${encrypter.protocol}/shoal-admit/1`,
      secureInbound: async (connection, options) =>
        gate(await encrypter.secureInbound(connection, withoutMuxer(options)), false, options),
      secureOutbound: async (connection, options) =>
        gate(await encrypter.secureOutbound(connection, withoutMuxer(options)), true, options),
    }
  }
}

interface ProofContext {
  secret: Uint8Array
  self: string
  dialler: boolean
  logger: Logger
  signal: AbortSignal | undefined
}

async function prove(secured: SecuredConnection, context: ProofContext): Promise<SecuredConnection> {
  const { secret, self, dialler, logger } = context
  const remote = secured.remotePeer.toString()
  const timeout = AbortSignal.timeout(ADMISSION_TIMEOUT_MS)
  const signal = context.signal === undefined ? timeout : AbortSignal.any([timeout, context.signal])
  inOneRecord(secured.connection)
  lenientWrites(secured.connection)
  const stream = byteStream(secured.connection, { maxBufferSize: 1 << 20 })
  try {
    const nonce = randomBytes(NONCE_BYTES)
    await stream.write(nonce, { signal })
    const theirs = (await stream.read({ bytes: NONCE_BYTES, signal })).subarray()
    const parts = dialler ? [self, remote, nonce, theirs] : [remote, self, theirs, nonce]
    const mine = proofOf(secret, dialler ? 'dialler' : 'listener', parts)
    const wanted = proofOf(secret, dialler ? 'listener' : 'dialler', parts)
    if (dialler) await stream.write(mine, { signal })
    const given = (await stream.read({ bytes: PROOF_BYTES, signal })).subarray()
    if (!timingSafeEqual(given, wanted)) {
      if (dialler) throw new Refused(`${remote} ${refusalText(given)}`)
      await stream.write(REFUSAL, { signal })
      await secured.connection.close({ signal: AbortSignal.timeout(REFUSAL_TIMEOUT_MS) })
      throw new Refused(`${remote} does not hold the secret of this mesh`)
    }
    if (!dialler) await stream.write(mine, { signal })
    stream.unwrap()
    return secured
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    // The remote learns next to nothing from libp2p, so the reason is written down here.
    logger.warn({ peer: remote, dialler, reason }, `connection with ${shortPeer(remote)} not admitted`)
    const failure = error instanceof Refused ? new Error(`${ADMISSION_FAILED}: ${reason}`) : asError(error)
    secured.connection.abort(failure)
    throw failure
  }
}

/** Small messages, and the muxer's header with each: copied into one record rather than written as several. */
function inOneRecord(stream: MessageStream): void {
  const send = stream.send.bind(stream)
  stream.send = data => {
    const small = !(data instanceof Uint8Array) && data.byteLength <= TLS_RECORD_BYTES_MAX
    return send(small ? data.subarray() : data)
  }
}

class Refused extends Error {}

function refusalText(given: Uint8Array): string {
  return Buffer.compare(given, REFUSAL) === 0
    ? 'says that we do not hold the secret of its mesh'
    : 'does not hold the secret of this mesh'
}

/** HMAC-SHA256 over length-prefixed parts: no two lists of parts give the same input. */
function proofOf(
  secret: Uint8Array,
  role: 'dialler' | 'listener',
  parts: readonly (string | Uint8Array)[],
): Buffer {
  const mac = createHmac('sha256', secret)
  for (const part of [LABEL, role, ...parts]) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.byteLength)
    mac.update(length).update(bytes)
  }
  return mac.digest()
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
