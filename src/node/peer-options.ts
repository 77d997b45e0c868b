import type { Logger } from '../base/index.ts'
import type { FileOptions, RepairDriverOptions } from '../dht/index.ts'
import type { DiskSpaceOptions, MembershipOptions, RaftOptions, VotersOptions } from '../gossip/index.ts'

export interface PeerOptions {
  /** Holds identity, log, blocks; made when missing; of one process at a time. */
  dataDirectory: string
  /**
   * Multiaddrs of any peers of the mesh to join. Without any, and with an empty data directory, the peer creates a mesh,
   * once; with any it never does. A directory that belongs to a mesh goes back to it, whatever is given here.
   */
  join?: readonly string[]
  /** The mesh's secret: needed to join, else made at genesis or read from the data directory. */
  meshKey?: Uint8Array
  /** Shown to people. @default last six characters of the peer id */
  name?: string
  /** Multiaddrs to listen on: loopback until told otherwise. @default ['/ip4/127.0.0.1/tcp/0'] */
  listen?: readonly string[]
  /**
   * Multiaddrs that others are told instead, where they cannot dial those it listens on: behind a port mapping or a proxy.
   * @default those it listens on
   */
  announce?: readonly string[]
  /** Local IP address that its own connections come from, on a machine with several. @default the system's choice */
  dialFrom?: string
  /** Replicas and voters are spread over hosts first. @default the machine's host name */
  host?: string
  /** Spread over zones before hosts. @default none */
  zone?: string
  /**
   * Share of the data it takes, relative to the others: twice the weight, twice the data; 0 takes none. It is kept in the log, may be
   * changed while the peer runs (`shoal weigh`), and stays as it was when a later start names none. @default 1
   */
  weight?: number
  /** Bytes per second that it pulls for repair and slot moves. @default 32 MiB */
  copyBytesPerSecond?: number
  /** Worker threads for tasks. @default cores of the machine */
  workers?: number
  /**
   * Bytes that the peer may take beside those of an idle one, divided among tasks, cached partitions and outputs
   * (memory-budget.ts); at least 64 MiB. @default each part has a default of its own
   */
  memoryBytes?: number
  /** Bytes of cached partitions. @default 256 MiB, or a quarter of `memoryBytes` */
  cacheBytes?: number
  /** Bytes of cached partitions on its disk, beside `diskReserveBytes`. @default 8 GiB */
  cacheDiskBytes?: number
  /** Bytes one task may hold in tables and buffers; what is more goes to disk. @default 512 MiB, or a third of `memoryBytes` */
  taskBytes?: number
  /** The same of all its tasks together. @default a quarter of the machine's memory, or a third of `memoryBytes` */
  tasksBytes?: number
  /** Heap of a worker thread in MiB; a task that needs more ends its thread only. @default 1024 */
  oldSpaceMb?: number
  /** Free space of the disk that is never given to blocks. @default 256 MiB */
  diskReserveBytes?: number
  /**
   * Directory to find packages from that closures name: in its `node_modules`, or in those of the directories above.
   * @default the working directory
   */
  packages?: string
  /**
   * Obey orders to cut itself off from other peers or to call its disk full, for a while: of `shoal chaos`, on a mesh for
   * trying things out. @default false
   */
  allowChaos?: boolean
  /** @default silent */
  log?: Logger
  /** Timers, for tests and small meshes. */
  membership?: Partial<MembershipOptions>
  raft?: Partial<RaftOptions>
  voters?: Partial<VotersOptions>
  /** Room kept on the disk for metadata. */
  metadataSpace?: Partial<DiskSpaceOptions>
  repair?: RepairDriverOptions
  /** Bounds and times of files and blocks: the scrub, the audit, hedged reads, garbage. */
  files?: Partial<FileOptions>
  signal?: AbortSignal
}
