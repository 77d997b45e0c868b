import { multiaddrConnectionPair } from '@libp2p/utils'
import { expect, test } from 'vitest'
import { lenientWrites } from '../../../../src/node/net/lenient-writes.ts'

test('writing to a connection that has ended throws in libp2p, and is lost with us', () => {
  const [strict] = multiaddrConnectionPair()
  strict.abort(new Error('gone'))
  expect(() => strict.send(Buffer.from('late'))).toThrow('closed')

  const [lenient] = multiaddrConnectionPair()
  lenientWrites(lenient)
  lenient.abort(new Error('gone'))
  expect(lenient.send(Buffer.from('late'))).toBe(true)
})

test('until then everything arrives', async () => {
  const [near, far] = multiaddrConnectionPair()
  lenientWrites(near)
  const heard = new Promise<string>(resolve => {
    far.addEventListener('message', event => resolve(Buffer.from(event.data.subarray()).toString()))
  })
  near.send(Buffer.from('hello'))
  expect(await heard).toBe('hello')
})
