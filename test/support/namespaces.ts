import { execFileSync } from 'node:child_process'

/** Its peers' addresses: 10.213.N.1, 10.213.N.2 …, this side 10.213.N.254; N tells runs at the same time apart. */
const NET = '10.213'
const HOST_PART = 254

/**
 * Network namespaces on one bridge, one for each peer: a network of the kernel's own, in which packets from one peer to
 * another can be dropped, one direction at a time. The ends of a connection notice nothing but silence. Needs root and
 * `ip`; the receiving end drops by a routing rule, which every kernel with namespaces has.
 */
export class Namespaces implements Disposable {
  readonly #names: string[] = []
  readonly #bridge: string
  readonly #subnet: string
  readonly #dropped = new Map<string, string>()
  /** Also when the tests are interrupted: nothing stays behind. */
  readonly #removeNow = (): void => this[Symbol.dispose]()

  private constructor(id: number) {
    this.#bridge = `shoal${id}`
    this.#subnet = `${NET}.${id}`
  }

  /** Whether this machine lets us; tries it. */
  static arePossible(): boolean {
    if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
    try {
      using probe = Namespaces.create(1)
      probe.drop(0, 0)
      return true
    } catch {
      return false
    }
  }

  static create(count: number): Namespaces {
    const spaces = new Namespaces(1 + (process.pid % 250))
    process.once('exit', spaces.#removeNow)
    try {
      spaces.#make(count)
      return spaces
    } catch (error) {
      spaces[Symbol.dispose]()
      throw error
    }
  }

  /** Name of the n-th, from 0, for `ip netns exec`. */
  name(index: number): string {
    return this.#names[index]!
  }

  address(index: number): string {
    return `${this.#subnet}.${index + 1}`
  }

  /** From now on nothing that the one sends reaches the other. */
  drop(from: number, to: number): void {
    const key = `${from} ${to}`
    if (this.#dropped.has(key)) return
    const rule = `from ${this.address(from)} blackhole pref 10`
    ip(`-n ${this.name(to)} rule add ${rule}`)
    this.#dropped.set(key, `-n ${this.name(to)} rule del ${rule}`)
  }

  /** Both directions between each of some and each of others. */
  part(some: readonly number[], others: readonly number[]): void {
    for (const a of some) {
      for (const b of others) {
        this.drop(a, b)
        this.drop(b, a)
      }
    }
  }

  heal(): void {
    for (const command of this.#dropped.values()) ip(command)
    this.#dropped.clear()
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#removeNow)
    for (const [i, name] of this.#names.splice(0).entries()) {
      // Before the namespace, which the kernel keeps for as long as a socket in it lingers.
      quietly(`link del ${this.#bridge}v${i}`)
      quietly(`netns del ${name}`)
    }
    quietly(`link del ${this.#bridge}`)
  }

  #make(count: number): void {
    ip(`link add ${this.#bridge} type bridge`)
    ip(`addr add ${this.#subnet}.${HOST_PART}/24 dev ${this.#bridge}`)
    ip(`link set ${this.#bridge} up`)
    for (let i = 0; i < count; i++) {
      const name = `${this.#bridge}n${i}`
      const [outer, inner] = [`${this.#bridge}v${i}`, 'eth0']
      ip(`netns add ${name}`)
      this.#names.push(name)
      ip(`link add ${outer} type veth peer name ${inner} netns ${name}`)
      ip(`link set ${outer} master ${this.#bridge} up`)
      ip(`-n ${name} addr add ${this.address(i)}/24 dev ${inner}`)
      ip(`-n ${name} link set ${inner} up`)
      ip(`-n ${name} link set lo up`)
      // The rule that finds local addresses comes first by default: before it nothing could be dropped.
      ip(`-n ${name} rule add pref 100 table local`)
      ip(`-n ${name} rule del pref 0`)
    }
  }
}

function ip(command: string): void {
  execFileSync('ip', command.split(' '), { stdio: ['ignore', 'ignore', 'pipe'], timeout: 10_000 })
}

function quietly(command: string): void {
  try {
    ip(command)
  } catch {
    // Gone already, or never there.
  }
}
