import type { Mesh } from 'shoal'
import { airports, flights } from './sample-files.ts'

interface Flight {
  origin: string
  delay: number
}

/**
 * Where flights start with the longest mean delay: partial (sum, count) pairs, for the mean of means would weigh a quiet
 * partition as much as a busy one; then joined with the airports' names.
 *
 *     shoal run examples/mean-delay.ts
 */
export default async function (mesh: Mesh): Promise<void> {
  const departures = mesh.textFile(await flights(mesh)).map(line => JSON.parse(line) as Flight)
  const sums = departures
    .map(({ origin, delay }) => [origin, { sum: delay, count: 1 }])
    .reduceByKey((left, right) => ({ sum: left.sum + right.sum, count: left.count + right.count }))
  const means = sums.filter(([, { count }]) => count >= 100).mapValues(({ sum, count }) => sum / count)

  const names = mesh.textFile(await airports(mesh)).map(line => {
    const [code = '', name = ''] = line.split(',')
    return [code, name]
  })

  const worst = await means.join(names).top(10, ([, [mean]]) => mean, { name: 'mean delay by airport' })
  for (const [code, [mean, name]] of worst)
    console.log(`${mean.toFixed(1).padStart(6)} min  ${code}  ${name}`)
}
