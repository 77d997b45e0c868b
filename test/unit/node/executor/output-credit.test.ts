import { expect, test } from 'vitest'
import { OutputCredit } from '../../../../src/node/executor/output-credit.ts'

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending')
  return (await Promise.race([promise, Promise.resolve(pending)])) === pending
}

test('a worker runs ahead up to its credit, and goes on when the peer has taken something', async () => {
  const credit = new OutputCredit(100)
  credit.begin()
  await credit.take(60)
  await credit.take(60)
  const third = credit.take(1)
  expect(await isPending(third)).toBe(true)
  credit.taken(credit.task, 60)
  await third
})

test('the task is not over before all of its bytes were taken', async () => {
  const credit = new OutputCredit(100)
  credit.begin()
  await credit.take(10)
  await credit.take(20)
  const drained = credit.drained()
  credit.taken(credit.task, 10)
  expect(await isPending(drained)).toBe(true)
  credit.taken(credit.task, 20)
  await drained
})

test('what the peer could not write fails the task at its next chunk, or at its end', async () => {
  const credit = new OutputCredit(100)
  credit.begin()
  await credit.take(200)
  const blocked = credit.take(1)
  credit.taken(credit.task, 200, new Error('disk full'))
  await expect(blocked).rejects.toThrow('disk full')
  await expect(credit.drained()).rejects.toThrow('disk full')
})

test('late answers for an earlier task change nothing for the next one', async () => {
  const credit = new OutputCredit(100)
  credit.begin()
  const earlier = credit.task
  await credit.take(500)
  credit.begin()
  await credit.take(50)
  credit.taken(earlier, 500, new Error('of the earlier task'))
  const drained = credit.drained()
  expect(await isPending(drained)).toBe(true)
  credit.taken(credit.task, 50)
  await drained
})
