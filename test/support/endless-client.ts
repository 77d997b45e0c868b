import { attach } from '../../src/node/index.ts'

/** A program that has a job which never ends: for tests that kill it. Peers and key in its arguments. */
const [peers = '', key = '', name = ''] = process.argv.slice(2)
const mesh = await attach({ peers: peers.split(' '), meshKey: Buffer.from(key, 'hex') })
process.once('disconnect', () => process.exit(0))
await mesh
  .range(0, 12, 1, 12)
  .map(number => {
    for (;;) if (number < 0) return number
  })
  .count({ name })
