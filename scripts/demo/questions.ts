import type { Mesh, RDD } from '../../src/index.ts'
import { raceAbort } from '../../src/base/index.ts'
import { colors } from '../../src/cli/terminal.ts'
import type { Inputs } from './inputs.ts'
import * as oracle from './oracle.ts'
import { bar, whole, type Screen } from './screen.ts'

export interface Asking {
  screen: Screen
  mesh: Mesh
  inputs: Inputs
  signal: AbortSignal
}

/** Everything about one question; the job is shown as its source stands here. */
interface Question<Answer> {
  title: string
  explanation: string
  job: (mesh: Mesh) => Promise<Answer>
  /** Shown instead of `job`. */
  source?: (mesh: Mesh) => unknown
  /** The same by plain loops. */
  expected: (inputs: Inputs) => Answer
  show: (answer: Answer) => string
}

const NUMBERS = [4, 2, 67, 2, 98, 56, 43, 24, 91]
const TEN_MILLION = 10_000_000
const FLIGHTS_MIN = 50

interface Flight {
  origin: string
  delay: number
}

const flightsOf = (line: string): Flight[] => JSON.parse(line) as Flight[]

/** The fields of one line of CSV; quoted ones may hold commas and doubled quotes. */
const fieldsOf = (line: string): string[] => {
  const fields = line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)
  return Array.from(fields, ([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '')
}

/** [code, 'name, city'] */
const airportOf = (line: string): [string, string] => {
  const [code = '', name = '', city = ''] = fieldsOf(line)
  return [code, `${name}, ${city}`]
}

/** Sum and count of each partition. */
const sumAndCount = (numbers: Iterable<number>): [number, number][] => {
  let sum = 0
  let count = 0
  for (const number of numbers) {
    sum += number
    count += 1
  }
  return [[sum, count]]
}

/** Two batches of very different size, in four partitions each. */
const tenMillion = (mesh: Mesh): RDD<number> =>
  mesh.union([mesh.range(1, 9_000_001, 1, 4), mesh.range(9_000_001, TEN_MILLION + 1, 1, 4)])

/** Lateness by airport, with the airports' names: two shuffles, a join and a sort. */
export const lateness = (mesh: Mesh): RDD<oracle.DelayRow> => {
  const means = mesh
    .textFile('/flights/flights-20k.json')
    .flatMap(flightsOf)
    .map(({ origin, delay }) => [origin, { delay, flights: 1 }])
    .reduceByKey((a, b) => ({ delay: a.delay + b.delay, flights: a.flights + b.flights }))
    .filter(([, { flights }]) => flights >= FLIGHTS_MIN)
    .mapValues(({ delay, flights }) => delay / flights)
  const names = mesh.textFile('/flights/airports.csv').map(airportOf)
  return means.join(names).sortBy(([code, [mean]]) => [-mean, code])
}

export async function askQuestions(asking: Asking): Promise<void> {
  await ask(asking, {
    title: 'The odd squares of the numbers 1 to 100',
    explanation:
      'map and filter run on each partition where it is; collect brings the parts together, in order.',
    job: mesh =>
      mesh
        .range(1, 101)
        .map(n => n * n)
        .filter(square => square % 2 === 1)
        .collect(),
    expected: () => oracle.oddSquares(100),
    show: squares => `${squares.slice(0, 6).join(', ')}, … ${squares.at(-1)}: ${squares.length} squares`,
  })
  await ask(asking, {
    title: 'The sum of the numbers 1 to 100',
    explanation: 'Each partition is reduced where it is, then the partial results in partition order.',
    job: mesh => mesh.range(1, 101).reduce((a, b) => a + b),
    expected: () => oracle.sumTo(100),
    show: String,
  })
  await ask(asking, {
    title: `The greatest of ${NUMBERS.join(', ')}`,
    explanation: 'The same with another function. NUMBERS is a variable of this program.',
    job: mesh => mesh.parallelize(NUMBERS).reduce((a, b) => (a > b ? a : b)),
    expected: () => oracle.greatest(NUMBERS),
    show: String,
  })
  await askForMean(asking)
  await ask(asking, {
    title: 'The ten most frequent words of Moby-Dick',
    explanation:
      'Words are counted in each partition first, so that only totals travel to the peers that add them up.',
    job: mesh =>
      mesh
        .textFile('/books/moby-dick.txt')
        .flatMap(line => line.toLowerCase().match(/[a-z']+/g) ?? [])
        .map(word => [word, 1])
        .reduceByKey((a, b) => a + b)
        .takeOrdered(10, ([word, count]) => [-count, word]),
    expected: ({ book }) => oracle.mostFrequent(oracle.countWords(book.toString()), 10),
    show: counts =>
      counts
        .map(([word, n]) => `${word.padEnd(6)}${whole.format(n).padStart(7)} ${bar(n, counts[0]![1], 40)}`)
        .join('\n'),
  })
  await ask(asking, {
    title: 'Where one waits longest: mean delay by airport, with the names of the airports',
    explanation: `Two files meet in a join. Airports with at least ${FLIGHTS_MIN} departures, the latest first.`,
    job: mesh => lateness(mesh).collect(),
    source: lateness,
    expected: ({ flights, airports }) =>
      oracle.meanDelays(flights.toString(), airports.toString(), FLIGHTS_MIN),
    show: rows =>
      [
        ...rows
          .slice(0, 5)
          .map(([code, [mean, name]]) => `${code} ${mean.toFixed(1).padStart(6)} min  ${name}`),
        `… ${rows.length} airports in all`,
      ].join('\n'),
  })
}

async function askForMean(asking: Asking): Promise<void> {
  await ask(asking, {
    title: 'The mean of ten million numbers',
    explanation:
      'Each partition gives its sum and its count; the pairs are added up, and divided only at the end.',
    job: async mesh => {
      const [sum, count] = await tenMillion(mesh)
        .mapPartitions(sumAndCount)
        .reduce(([sum, count], [more, others]) => [sum + more, count + others])
      return sum / count
    },
    expected: () => oracle.meanTo(TEN_MILLION),
    show: mean => whole.format(Math.floor(mean)) + String(mean % 1).slice(1),
  })
  const averages = tenMillion(asking.mesh)
    .mapPartitions(sumAndCount)
    .map(([sum, count]) => sum / count)
  const wrong = await averages.mean({ signal: asking.signal })
  asking.screen.say(
    colors.dim(
      `The average of the partitions' averages would be ${whole.format(Math.floor(wrong))}: four of the eight partitions\n` +
        'hold nine tenths of the numbers, and would weigh no more than the other four.',
    ),
  )
}

async function ask<Answer>(
  { screen, mesh, inputs, signal }: Asking,
  question: Question<Answer>,
): Promise<void> {
  screen.say()
  screen.say(colors.bold(question.title))
  screen.say(question.explanation)
  screen.quote(sourceOf(question.source ?? question.job))
  const startMs = performance.now()
  using _ = watch(screen, mesh)
  const answer = await raceAbort(question.job(mesh), signal)
  const tookMs = performance.now() - startMs
  screen.say(question.show(answer))
  screen.check('a plain loop in one process gives the same', answer, question.expected(inputs), tookMs)
}

/** Tasks done so far, on a terminal. */
export function watch(screen: Screen, mesh: Mesh): Disposable {
  return mesh.onJobEvent(event => {
    if (event.type !== 'progress') return
    const { done, tasks } = totalOf(event.progress.stages)
    screen.progress(`${done} of ${tasks} tasks done …`)
  })
}

export function totalOf(stages: readonly { tasks: number; done: number }[]): { tasks: number; done: number } {
  let tasks = 0
  let done = 0
  for (const stage of stages) {
    tasks += stage.tasks
    done += stage.done
  }
  return { tasks, done }
}

/** The body of a function as it is written, moved to the left margin. */
function sourceOf(job: (mesh: Mesh) => unknown): string {
  const [first = '', ...others] = job
    .toString()
    .replace(/^(?:async )?\(?mesh\s*\)?\s*=>\s*/, '')
    .split('\n')
  const isBlock = first === '{'
  const body = isBlock ? others.slice(0, -1) : others
  const margin = Math.min(...body.map(line => line.search(/\S/)))
  const moved = body.map(line => (isBlock ? '' : '  ') + line.slice(margin))
  return (isBlock ? moved : [first, ...moved]).join('\n')
}
