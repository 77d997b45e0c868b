import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LinkTable, TcpProxy } from '../../src/chaos/index.ts'
import { attach, readMeshKey, type Mesh, type PeerStatus } from '../../src/node/index.ts'
import type { TaskOutput } from '../../src/rdd/index.ts'
import type { Namespaces } from './namespaces.ts'
import { PeerProcess, type PeerPlace } from './peer-process.ts'
import type { PeerSettings } from './peer-settings.ts'
import { waitFor } from './wait-for.ts'

export type ClusterSettings = Partial<
  Omit<PeerSettings, 'name' | 'dataDirectory' | 'join' | 'meshKeyHex'>
> & {
  /** Peers reach each other through proxies, so that `cluster.links` can make the network between them worse. */
  throughProxies?: boolean
  /** Each peer runs in one of these. */
  namespaces?: Namespaces
}

/** The whole one of each peer would be most of what a test writes. */
const SMALL_RESERVE = { reserveBytes: 1024 * 1024 }

/** Each namespace has its own ports. */
const NAMESPACE_PORT = 4_001

/** Peers as processes on this machine, in a temporary folder that goes with them. */
export class LocalCluster implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'shoal-e2e-'))
  readonly peers: PeerProcess[] = []
  /** Faults of the ways between peers, by their names; only of a cluster that was started `throughProxies`. */
  readonly links = new LinkTable()
  readonly #settings: Omit<ClusterSettings, 'throughProxies' | 'namespaces'>
  readonly #throughProxies: boolean
  readonly #namespaces: Namespaces | undefined
  readonly #proxies: TcpProxy[] = []
  readonly #clients = new Set<Mesh>()
  #key: Uint8Array | undefined

  /** When the tests are interrupted; the peers have been killed by then. */
  readonly #removeNow = (): void => rmSync(this.directory, { recursive: true, force: true })

  private constructor({ throughProxies = false, namespaces, ...settings }: ClusterSettings) {
    this.#settings = settings
    this.#throughProxies = throughProxies
    this.#namespaces = namespaces
    mkdirSync(join(this.directory, 'log'))
    process.once('exit', this.#removeNow)
  }

  /** Resolves when all peers are members and the mesh has the voters its size asks for. */
  static async start(peers: number, settings: ClusterSettings = {}): Promise<LocalCluster> {
    const cluster = new LocalCluster({ workers: 1, metadataSpace: SMALL_RESERVE, ...settings })
    try {
      await cluster.add()
      await Promise.all(Array.from({ length: peers - 1 }, () => cluster.add()))
      await cluster.ready()
      return cluster
    } catch (error) {
      console.error(cluster.logs())
      await cluster[Symbol.asyncDispose]()
      throw error
    }
  }

  /** Like `start`, but for the programs of all peers, the first one's too, being started at the same moment. */
  static async startAtOnce(peers: number, timeoutMs: number, onServing: () => void): Promise<LocalCluster> {
    const cluster = new LocalCluster({ workers: 1, metadataSpace: SMALL_RESERVE })
    try {
      const meshKeyHex = randomBytes(32).toString('hex')
      const first = `/ip4/127.0.0.1/tcp/${await freePort()}`
      const founder = cluster.prepare({ meshKeyHex, listen: [first] })
      for (let i = 1; i < peers; i++) cluster.prepare({ meshKeyHex, join: [first] })
      await Promise.all(cluster.peers.map(peer => peer.start(timeoutMs)))
      onServing()
      cluster.#key = await readMeshKey(founder.dataDirectory)
      await cluster.ready(timeoutMs)
      return cluster
    } catch (error) {
      console.error(cluster.logs(10))
      await cluster[Symbol.asyncDispose]()
      throw error
    }
  }

  get key(): Uint8Array {
    if (this.#key === undefined) throw new Error('the cluster has no peer yet')
    return this.#key
  }

  /** One more peer: the first creates the mesh, the others join it. */
  async add(settings: ClusterSettings & { meshKeyHex?: string } = {}): Promise<PeerProcess> {
    const peer = this.prepare(settings)
    if (this.#throughProxies) peer.listenAt(await this.#proxied(peer.name))
    await peer.start()
    this.#key ??= await readMeshKey(peer.dataDirectory)
    return peer
  }

  /** The same, not started yet. */
  prepare(settings: ClusterSettings & { meshKeyHex?: string; join?: string[] } = {}): PeerProcess {
    const name = `p${this.peers.length + 1}`
    const joining =
      this.#key === undefined
        ? {}
        : {
            join: this.running().flatMap(peer => [...peer.addresses]),
            meshKeyHex: Buffer.from(this.#key).toString('hex'),
          }
    const peer = new PeerProcess(
      {
        host: name,
        ...this.#settings,
        ...joining,
        ...settings,
        name,
        dataDirectory: join(this.directory, name),
      },
      join(this.directory, 'log', `${name}.log`),
    )
    const spaces = this.#namespaces
    if (spaces !== undefined) {
      const index = this.peers.length
      peer.listenAt({
        listen: [`/ip4/${spaces.address(index)}/tcp/${NAMESPACE_PORT}`],
        within: spaces.name(index),
      })
    }
    this.peers.push(peer)
    return peer
  }

  /**
   * Every peer has a loopback address of its own, from which it dials too: so a proxy knows whose connection it has. Its
   * proxy has the same port at another address.
   */
  async #proxied(name: string): Promise<PeerPlace> {
    const [host, front] = [`127.0.1.${name.slice(1)}`, `127.0.2.${name.slice(1)}`]
    const proxy: TcpProxy = await TcpProxy.listen({
      host: front,
      target: () => ({ host, port: proxy.port }),
      name,
      nameOf: address => /^127\.0\.1\.(\d+)$/.exec(address)?.[1]?.replace(/^/, 'p'),
      faults: this.links,
    })
    this.#proxies.push(proxy)
    const { port } = proxy
    return {
      listen: [`/ip4/${host}/tcp/${port}`],
      announce: [`/ip4/${front}/tcp/${port}`],
      dialFrom: host,
    }
  }

  running(): PeerProcess[] {
    return this.peers.filter(peer => peer.isRunning)
  }

  /** Attaches as a client to this peer, to the first of several that answers, or to any that runs. */
  async connect(...chosen: readonly (PeerProcess | undefined)[]): Promise<Mesh> {
    return await this.connectWith({}, ...chosen)
  }

  /** @param options `waitMs: 0`: a client that passes on what its peer says, instead of asking again quietly. */
  async connectWith(
    options: { waitMs?: number; onTaskOutput?: (output: TaskOutput) => void },
    ...chosen: readonly (PeerProcess | undefined)[]
  ): Promise<Mesh> {
    const named = chosen.filter(peer => peer !== undefined)
    const peers = named.length === 0 ? this.running() : named
    const mesh = await attach({
      peers: peers.flatMap(({ addresses }) => [...addresses]),
      meshKey: this.key,
      timeoutMs: 20_000,
      ...options,
    })
    this.#clients.add(mesh)
    return mesh
  }

  /** Clients attached to the first peers that run, one each. */
  async clients(count: number): Promise<Mesh[]> {
    return await Promise.all(
      this.running()
        .slice(0, count)
        .map(peer => this.connect(peer)),
    )
  }

  /** The peer that most running peers take for the leader, when it runs and agrees. */
  async leader(): Promise<PeerProcess> {
    return await waitFor('a leader that serves', async () => {
      for (const peer of this.running()) {
        const status = await peer.status().catch(() => undefined)
        if (status?.role === 'leader' && status.leader === peer.id) return peer
      }
      return undefined
    })
  }

  /** Running peers that do not lead. */
  async followers(): Promise<PeerProcess[]> {
    const leader = await this.leader()
    return this.running().filter(peer => peer !== leader)
  }

  /**
   * Peers that were killed or paused run again, and the mesh agrees; those that never served are left alone.
   * @throws when a peer had ended by itself, after it runs again.
   */
  async heal(): Promise<void> {
    this.links.heal()
    for (const peer of this.peers) peer.resume()
    const crashes = this.peers.flatMap(peer => {
      const crash = peer.takeCrash()
      return crash === undefined ? [] : [`${peer.name} ended by itself: ${crash}`]
    })
    await Promise.all(this.peers.filter(peer => !peer.isRunning && peer.id !== '').map(peer => peer.start()))
    await this.ready()
    if (crashes.length > 0) throw new Error(crashes.join('\n'))
  }

  /** Every running peer agrees on leader, members and voters, and all of them are up and alive. */
  async ready(timeoutMs = 90_000): Promise<void> {
    await waitFor(
      'the mesh to agree',
      async () => {
        const statuses = await Promise.all(this.running().map(peer => peer.status()))
        return statuses.every(status => this.#agrees(status, statuses[0]!))
      },
      timeoutMs,
    )
  }

  #agrees(status: PeerStatus, first: PeerStatus): boolean {
    const ids = new Set(this.running().map(({ id }) => id))
    const up = status.members.filter(({ state, liveness }) => state === 'up' && liveness === 'alive')
    return (
      status.leader !== undefined &&
      status.leader === first.leader &&
      status.term === first.term &&
      ids.has(status.leader) &&
      up.length === ids.size &&
      up.every(({ peerId }) => ids.has(peerId)) &&
      status.voters.length >= status.votersTarget &&
      status.voters.every(voter => ids.has(voter))
    )
  }

  /** The end of every peer's log. */
  logs(lines = 60): string {
    return this.peers.map(peer => `--- ${peer.name} (${peer.id})\n${peer.logTail(lines)}`).join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled([...this.#clients].map(client => client.close()))
    await Promise.allSettled(this.peers.map(peer => peer.kill()))
    await Promise.allSettled(this.#proxies.map(proxy => proxy[Symbol.asyncDispose]()))
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 })
    process.off('exit', this.#removeNow)
  }
}

/** One that nobody listens on at the moment. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
