import { afterEach, describe, expect, it } from 'vitest'
import { asPeerId, pack, sleep, withDeadline } from '../../../src/base/index.ts'
import { MembershipDriver } from '../../../src/gossip/membership-driver.ts'
import { MEMBERS_TOPIC } from '../../../src/gossip/messages.ts'
import { MemoryNetwork } from '../../support/memory-transport.ts'

/** Ten times the pace of real life. */
const FAST = {
  tickMs: 10,
  probeIntervalMs: 100,
  probeTimeoutMs: 50,
  indirectTimeoutMs: 100,
  suspicionMs: 400,
  syncIntervalMs: 3_000,
  deadSyncIntervalMs: 300,
  joinRetryMs: 100,
  publishIntervalMs: 20,
}

describe('the membership driver', () => {
  const drivers = new Map<string, MembershipDriver>()
  let network = new MemoryNetwork()
  afterEach(async () => {
    for (const driver of drivers.values()) await driver[Symbol.asyncDispose]()
    drivers.clear()
    network = new MemoryNetwork()
  })

  const start = (name: string, join: string[]): MembershipDriver => {
    const labels = { host: 'here', zone: '' }
    const info = { name, addresses: [`/memory/p2p/${name}`], labels, meta: {} }
    const driver = new MembershipDriver({ transport: network.join(name), info, options: FAST })
    drivers.set(name, driver)
    driver.join(join.map(peer => `/memory/p2p/${peer}`))
    return driver
  }
  const startMesh = (count: number): MembershipDriver[] =>
    Array.from({ length: count }, (_, index) => start(`p${index}`, ['p0']))
  const stop = async (name: string): Promise<void> => {
    network.kill(name)
    await drivers.get(name)![Symbol.asyncDispose]()
    drivers.delete(name)
  }
  const alive = (driver: MembershipDriver): string[] =>
    driver
      .members()
      .filter(member => member.state === 'alive')
      .map(member => member.name)
      .sort()
  const until = async (what: string, condition: () => boolean): Promise<void> => {
    using signal = withDeadline(what, 8_000)
    while (!condition()) await sleep(10, { signal })
  }
  const agreed = (names: string[]) => (): boolean =>
    names.every(name => alive(drivers.get(name)!).join() === names.join())

  it('peers that know one of them get to know all', async () => {
    startMesh(4)
    await until('all four know each other', agreed(['p0', 'p1', 'p2', 'p3']))
    expect(drivers.get('p3')!.member(asPeerId('p1'))).toMatchObject({
      labels: { host: 'here' },
      state: 'alive',
    })
  })

  it('a member that nobody has heard of is looked for once it is introduced, found dead, and accused by all', async () => {
    const [first] = startMesh(3)
    await until('all three know each other', agreed(['p0', 'p1', 'p2']))
    const info = { name: 'lost', addresses: ['/memory/p2p/lost'], labels: { host: 'there', zone: '' } }
    const lost = asPeerId('lost')
    expect(first!.mayProposeDown(lost)).toBe(false)
    first!.introduce(lost, info)
    await until('the first may propose that it is down', () => {
      first!.probe(lost)
      return first!.mayProposeDown(lost)
    })
    expect(first!.member(lost)).toMatchObject({ state: 'dead', name: 'lost' })
    start('lost', ['p1'])
    await until('it is back', agreed(['lost', 'p0', 'p1', 'p2']))
  })

  it('whoever is introduced as a stranger loses nothing of what is known of him', async () => {
    const [first] = startMesh(2)
    await until('both know each other', agreed(['p0', 'p1']))
    const before = first!.member(asPeerId('p1'))
    first!.introduce(asPeerId('p1'), { name: 'else', addresses: [], labels: { host: '', zone: '' } })
    expect(first!.member(asPeerId('p1'))).toEqual(before)
  })

  it('a killed peer is told as dead, and as alive when it is back', async () => {
    const [first] = startMesh(3)
    await until('all three know each other', agreed(['p0', 'p1', 'p2']))
    const heard: string[] = []
    first!.onChange((change, member) => heard.push(`${member.name} ${change}`))
    await stop('p2')
    await until('p2 is dead', () => first!.member(asPeerId('p2'))?.state === 'dead')
    expect(heard).toEqual(['p2 suspect', 'p2 dead'])
    await until('the leader may say so', () => first!.mayProposeDown(asPeerId('p2')))
    start('p2', ['p0'])
    await until('p2 is back', agreed(['p0', 'p1', 'p2']))
    expect(heard.at(-1)).toBe('p2 alive')
  })

  it('a peer that leaves is told as left, not as dead', async () => {
    const [first, , third] = startMesh(3)
    await until('all three know each other', agreed(['p0', 'p1', 'p2']))
    const heard: string[] = []
    first!.onChange(change => heard.push(change))
    third!.leave()
    await until('p2 left', () => first!.member(asPeerId('p2'))?.state === 'left')
    expect(heard).toEqual(['left'])
  })

  it('hints reach the others', async () => {
    const [first, second] = startMesh(2)
    await until('both know each other', agreed(['p0', 'p1']))
    second!.setMeta({ load: 0.5 })
    await until('the hint arrived', () => first!.member(asPeerId('p1'))?.meta.load === 0.5)
  })

  it('two halves cut off from each other find each other again by themselves', async () => {
    startMesh(3)
    await until('all three know each other', agreed(['p0', 'p1', 'p2']))
    network.block('p0', 'p2')
    network.block('p1', 'p2')
    const dead = (at: string, of: string) => drivers.get(at)!.member(asPeerId(of))?.state === 'dead'
    await until(
      'each side takes the other for dead',
      () => dead('p0', 'p2') && dead('p2', 'p0') && dead('p2', 'p1'),
    )
    network.heal()
    await until('all are back', agreed(['p0', 'p1', 'p2']))
  })

  it('a host with more addresses than are told is known all the same; a name too long is refused at start', async () => {
    const [first] = startMesh(2)
    const addresses = Array.from({ length: 30 }, (_, index) => `/memory/${index}/p2p/p1`)
    drivers.get('p1')!.setAddresses(addresses)
    await until('the addresses arrived', () => first!.member(asPeerId('p1'))?.addresses.length === 8)
    const info = { name: 'x'.repeat(65), addresses, labels: { host: 'here', zone: '' }, meta: {} }
    expect(() => new MembershipDriver({ transport: network.join('p2'), info })).toThrow(/name of this peer/)
  })

  it('garbage on the topic is dropped and does no harm', async () => {
    startMesh(2)
    await until('both know each other', agreed(['p0', 'p1']))
    const stranger = network.join('stranger')
    stranger.publish(MEMBERS_TOPIC, new Uint8Array([0xc1, 1, 2, 3]))
    stranger.publish(MEMBERS_TOPIC, pack({ updates: [{ peerId: 7 }] }))
    stranger.publish(MEMBERS_TOPIC, pack('what'))
    const info = { name: 'ghost', addresses: [], labels: { host: '', zone: '' }, meta: {} }
    const ghost = { peerId: 'ghost', incarnation: 1, state: 'alive', accusers: [], info }
    stranger.publish(MEMBERS_TOPIC, pack({ updates: [ghost] }))
    await until(
      'the well-formed one after them arrived',
      () => drivers.get('p1')!.member(asPeerId('ghost')) !== undefined,
    )
    expect(drivers.get('p1')!.member(asPeerId('p0'))?.state).toBe('alive')
  })
})
