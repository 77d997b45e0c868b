import { once } from 'node:events'
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net'
import type { Random } from '../base/index.ts'
import { systemRandom } from '../base/index.ts'
import { LinkPipe } from './link-pipe.ts'
import type { LinkFault, LinkTable } from './link-table.ts'

export interface TcpProxyOptions {
  /** Where it listens; port 0 for any. */
  host: string
  port?: number
  /** Where connections go on to; asked anew for each. */
  target: () => { host: string; port: number }
  /** Name of the end behind the proxy, as faults know it. */
  name: string
  /** Name of who dials, by the address it comes from; others have no name, and no faults. */
  nameOf: (address: string) => string | undefined
  /** Shared by all proxies of a mesh. */
  faults: LinkTable
  random?: Random
}

interface Crossing {
  from: string
  near: Socket
  far: Socket
  pipes: LinkPipe[]
}

/**
 * A TCP proxy in front of one peer that makes the network worse than it is: delay, jitter, stall, rate and cut, each in
 * one direction between two named ends, changed at any time, also of connections that are open.
 */
export class TcpProxy implements AsyncDisposable {
  readonly #options: TcpProxyOptions
  readonly #server: Server
  readonly #crossings = new Set<Crossing>()
  readonly #unwatch: () => void

  private constructor(options: TcpProxyOptions) {
    this.#options = options
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true }, socket =>
      this.#cross(socket),
    )
    this.#unwatch = options.faults.onChange(() => this.#apply())
  }

  /** Resolves when it listens. */
  static async listen(options: TcpProxyOptions): Promise<TcpProxy> {
    const proxy = new TcpProxy(options)
    proxy.#server.listen(options.port ?? 0, options.host)
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Connections that go through at the moment. */
  get connections(): number {
    return this.#crossings.size
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unwatch()
    for (const crossing of this.#crossings) this.#end(crossing)
    const closed = once(this.#server, 'close')
    this.#server.close()
    await closed
  }

  #cross(near: Socket): void {
    const { nameOf, name, faults, target, random = systemRandom } = this.#options
    // Unknown ones get a name that no fault can have.
    const from = nameOf(near.remoteAddress ?? '') ?? ''
    if (isCut(faults.of(from, name)) || isCut(faults.of(name, from))) {
      near.resetAndDestroy()
      return
    }
    const far = connect({ ...target(), allowHalfOpen: true, noDelay: true })
    const pipes = [
      new LinkPipe(near, far, faults.of(from, name), random),
      new LinkPipe(far, near, faults.of(name, from), random),
    ]
    const crossing = { from, near, far, pipes }
    this.#crossings.add(crossing)
    for (const socket of [near, far]) {
      // What broke one end breaks the other; there is nobody else to tell.
      socket.on('error', () => this.#end(crossing))
      socket.on('close', () => {
        if (near.closed && far.closed) this.#end(crossing)
      })
    }
  }

  #apply(): void {
    const { name, faults } = this.#options
    for (const crossing of this.#crossings) {
      const [there, back] = [faults.of(crossing.from, name), faults.of(name, crossing.from)]
      if (isCut(there) || isCut(back)) this.#end(crossing)
      else for (const [i, pipe] of crossing.pipes.entries()) pipe.setFault(i === 0 ? there : back)
    }
  }

  #end(crossing: Crossing): void {
    if (!this.#crossings.delete(crossing)) return
    for (const pipe of crossing.pipes) pipe.close()
    crossing.near.resetAndDestroy()
    crossing.far.resetAndDestroy()
  }
}

function isCut(fault: LinkFault): boolean {
  return fault.cut === true
}
