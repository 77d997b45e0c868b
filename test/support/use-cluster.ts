import { afterAll, afterEach, beforeAll } from 'vitest'
import { LocalCluster, type ClusterSettings } from './local-cluster.ts'

/** A cluster for all tests of a file. The peers' logs are printed when a test fails. */
export function useCluster(peers: number, settings: ClusterSettings = {}): () => LocalCluster {
  let cluster: LocalCluster | undefined
  beforeAll(async () => {
    cluster = await LocalCluster.start(peers, settings)
  })
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error(cluster?.logs())
  })
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]()
  })
  return () => {
    if (cluster === undefined) throw new Error('the cluster is there only while tests run')
    return cluster
  }
}
