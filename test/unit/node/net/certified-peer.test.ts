import { X509Certificate } from 'node:crypto'
import { generateKeyPair } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { generateCertificate } from '@libp2p/tls/utils'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { certifiedPeer } from '../../../../src/node/net/certified-peer.ts'

const DAY_MS = 86_400_000

async function certificate(key: PrivateKey): Promise<X509Certificate> {
  return new X509Certificate((await generateCertificate(key)).cert)
}

afterEach(() => {
  vi.useRealTimers()
})

describe('a certificate', () => {
  test('names the peer whose key signed it, whatever the clocks of both say', async () => {
    const key = await generateKeyPair('Ed25519')
    const peer = peerIdFromPrivateKey(key)
    for (const aheadMs of [-DAY_MS, 0, DAY_MS]) {
      vi.useFakeTimers({ now: Date.now() + aheadMs, toFake: ['Date'] })
      const made = await certificate(key)
      vi.useRealTimers()
      expect((await certifiedPeer(made)).toString()).toBe(peer.toString())
      expect((await certifiedPeer(made, peer)).toString()).toBe(peer.toString())
    }
  })

  test('of another peer than the one dialled is refused', async () => {
    const other = peerIdFromPrivateKey(await generateKeyPair('Ed25519'))
    const made = await certificate(await generateKeyPair('Ed25519'))
    await expect(certifiedPeer(made, other)).rejects.toThrow(`not ${other.toString()}`)
  })

  test('that is missing, altered in any byte, or names nobody is refused', async () => {
    await expect(certifiedPeer(undefined)).rejects.toThrow('no certificate')
    const key = await generateKeyPair('Ed25519')
    const peer = peerIdFromPrivateKey(key).toString()
    const { raw } = await certificate(key)
    for (let at = 0; at < raw.byteLength; at += 7) {
      const altered = Buffer.from(raw)
      altered[at]! ^= 1
      let named: string | undefined
      try {
        named = (await certifiedPeer(new X509Certificate(altered))).toString()
      } catch {
        continue
      }
      expect.unreachable(`byte ${at} altered, and ${named === peer ? 'the same' : 'another'} peer is named`)
    }
  })
})
