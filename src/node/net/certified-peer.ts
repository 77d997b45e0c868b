import type { X509Certificate as NodeCertificate } from 'node:crypto'
import { publicKeyFromProtobuf } from '@libp2p/crypto/keys'
import type { PeerId as Libp2pPeerId } from '@libp2p/interface'
import { peerIdFromPublicKey } from '@libp2p/peer-id'
import { encodeSignatureData } from '@libp2p/tls/utils'
import { X509Certificate } from '@peculiar/x509'
import { fromBER, OctetString, Sequence } from 'asn1js'

/** The extension that carries the peer's public key and its signature of the certificate's key. */
const KEY_EXTENSION = '1.3.6.1.4.1.53594.1.1'

/**
 * The peer whose key has signed the key of a certificate (libp2p TLS specification, "Peer Authentication"). The handshake has proved
 * that the remote holds the latter. Dates are not looked at.
 * @throws when there is no certificate, when it is not as specified, or when it is not the expected peer's.
 */
export async function certifiedPeer(
  given: NodeCertificate | undefined,
  expected?: Libp2pPeerId,
): Promise<Libp2pPeerId> {
  if (given === undefined) throw new Error('the remote sent no certificate')
  if (!given.checkIssued(given) || !given.verify(given.publicKey))
    throw new Error('the certificate is not signed by its own key')
  const extension = new X509Certificate(given.raw).getExtension(KEY_EXTENSION)
  if (extension === null) throw new Error('the certificate names no peer')
  const [key, signature] = octetStrings(extension.value)
  const publicKey = publicKeyFromProtobuf(key)
  const certificateKey = given.publicKey.export({ type: 'spki', format: 'der' })
  const signed = encodeSignatureData(new Uint8Array(certificateKey).buffer)
  if (!(await publicKey.verify(signed, signature)))
    throw new Error("the certificate's key is not signed by the peer that it names")
  const peer = peerIdFromPublicKey(publicKey)
  if (expected !== undefined && !expected.equals(peer))
    throw new Error(`the remote is ${peer.toString()}, not ${expected.toString()}`)
  return peer
}

/** SignedKey ::= SEQUENCE { publicKey OCTET STRING, signature OCTET STRING } */
function octetStrings(value: ArrayBuffer): [Uint8Array, Uint8Array] {
  const { result } = fromBER(value)
  if (result instanceof Sequence) {
    const [key, signature] = result.valueBlock.value
    if (key instanceof OctetString && signature instanceof OctetString) {
      return [new Uint8Array(key.getValue()), new Uint8Array(signature.getValue())]
    }
  }
  throw new Error('the certificate names its peer in another form than specified')
}
