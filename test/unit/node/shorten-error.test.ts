import { expect, test } from 'vitest'
import { pack, ShoalError, toWire } from '../../../src/base/index.ts'
import { EXECUTOR } from '../../../src/node/config.ts'
import { shortened } from '../../../src/node/executor/shorten-error.ts'
import { CHANNEL_LIMITS } from '../../../src/node/net/config.ts'

test('whatever a task throws fits into the head of its report, and still says what it begins with', () => {
  const megabytes = '€'.repeat(CHANNEL_LIMITS.headBytesMax)
  const peers = Array.from({ length: 1_000 }, () => megabytes)
  let error: ShoalError = new ShoalError('TASK_POISON', { stage: 1, partition: 2, peers }, 'poison')
  for (let depth = 0; depth < 100; depth++) {
    const details = { message: megabytes, peer: 'p', stage: 1, partition: 2, attempt: 0, stack: megabytes }
    error = new ShoalError('TASK_FAILED', details, `begins so ${megabytes}`, { cause: error })
  }
  const short = shortened(toWire(error))
  expect(pack(short).byteLength).toBeLessThan(CHANNEL_LIMITS.headBytesMax)
  expect(short).toMatchObject({ code: 'TASK_FAILED', details: { partition: 2, peer: 'p' } })
  expect(short.message).toMatch(/^begins so €/)
  expect(short.message.length).toBeLessThan(EXECUTOR.errorCharsMax + 100)
})

test('an ordinary error is reported as it is', () => {
  const wire = toWire(
    new ShoalError('FETCH_FAILED', { shuffle: 's', map: 1, peer: 'p' }, 'text', {
      cause: new ShoalError('CONNECTION_LOST', { peer: 'p' }),
    }),
  )
  expect(shortened(wire)).toEqual(wire)
})
