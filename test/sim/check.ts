/** A promise of the protocols that a run broke; anything else thrown in a run is a broken invariant or a bug. */
export class CheckFailure extends Error {
  override readonly name = 'CheckFailure'
}

export function check(condition: boolean, claim: string): asserts condition {
  if (!condition) throw new CheckFailure(claim)
}
