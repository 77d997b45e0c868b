/** Sum of the odd ones among the squares of 0 to N - 1, by hand: `node plain-numeric.ts N`. */
const count = Number(process.argv[2])
const startMs = performance.now()

function sumOfOddSquares(): number {
  let sum = 0
  for (let x = 0; x < count; x++) {
    const square = x * x
    if (square % 2 === 1) sum += square
  }
  return sum
}

const answer = sumOfOddSquares()
console.log(JSON.stringify({ tookMs: performance.now() - startMs, answer }))
