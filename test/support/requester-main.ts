import { attach } from '../../src/node/index.ts'

/** What the process is given in its first argument. */
export interface RequesterSettings {
  addresses: readonly string[]
  meshKeyHex: string
  /** Of its job, which never ends. */
  jobName: string
  tasks: number
}

/** A client as a process of its own, for tests that kill it. Says `begun` over IPC; ends with its parent. */
const { addresses, meshKeyHex, jobName, tasks } = JSON.parse(process.argv[2] ?? '{}') as RequesterSettings

process.once('disconnect', () => process.exit(0))
const mesh = await attach({ peers: addresses, meshKey: Buffer.from(meshKeyHex, 'hex') })
mesh.onJobEvent(event => {
  if (event.type === 'progress' && event.progress.stages.some(stage => stage.running > 0))
    process.send?.('begun')
})
await mesh
  .range(0, tasks, 1, tasks)
  .map(number => {
    for (;;) if (number < 0) return number
  })
  .count({ name: jobName })
