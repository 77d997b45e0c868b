import pino from 'pino'
import { hasCode, toWire } from '../../src/base/index.ts'
import { createPeer, type Peer } from '../../src/node/index.ts'
import type { FaultOrder, PeerReport, PeerSettings, StatusQuestion } from './peer-settings.ts'
import { allowFaults, failSyncs, setClock } from './process-faults.ts'

/**
 * One peer as a process of its own, for tests: settings in the first argument, log on standard error, reports over the
 * IPC channel. It ends with its parent, however that ended.
 */
const { meshKeyHex, logLevel, clockOffsetMs, ...options } = JSON.parse(
  process.argv[2] ?? '{}',
) as PeerSettings

allowFaults()
setClock(clockOffsetMs ?? 0)

process.once('disconnect', () => process.exit(0))

function report(message: PeerReport): void {
  process.send?.(message)
}

async function serve(): Promise<Peer> {
  const peer = await createPeer({
    ...options,
    ...(meshKeyHex === undefined ? {} : { meshKey: Buffer.from(meshKeyHex, 'hex') }),
    log: pino(
      { level: logLevel ?? 'info', base: null, timestamp: pino.stdTimeFunctions.isoTime },
      pino.destination({ fd: 2, sync: true }),
    ),
  })
  process.on('message', (asked: StatusQuestion | FaultOrder) => {
    if (asked.type === 'clock') setClock(asked.offsetMs)
    else if (asked.type === 'fail-syncs') failSyncs(asked.paths)
    else void peer.mesh.status().then(status => report({ type: 'status', seq: asked.seq, status }))
  })
  process.once('SIGTERM', () => {
    void peer.stop().then(() => process.exit(0))
  })
  void peer.drained.then(() => peer.stop()).then(() => process.exit(0))
  void peer.failed.then(fail)
  report({ type: 'serving', id: peer.id, addresses: peer.addresses() })
  return peer
}

function fail(error: unknown): void {
  const { code, message } = toWire(error)
  console.error(error)
  if (!hasCode(error, 'CANCELLED')) report({ type: 'failed', code, message })
  process.exitCode = 1
  process.disconnect()
}

await serve().catch(fail)
