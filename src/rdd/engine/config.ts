/** Bounds and measured sizes of the engine inside a worker (engine.md). None of them may depend on the peer: equal
 * plans must give equal bytes everywhere. */
export const ENGINE = {
  /** Elements that a generated loop takes per call; cancellation is looked at between calls. One long call of freshly
   * built functions can stick at half the speed. */
  sliceElements: 1024,
  /** Bytes of text decoded at once: strings of this size die young. A longer line makes its block grow. */
  textBlockBytes: 64 * 1024,
  /** Bytes read beyond a split at first, to finish its last line: nearly every line ends there. */
  readBeyondBytes: 64 * 1024,
  /** A map-side table is written out and begun again at so many estimated bytes… */
  combineBytes: 64 * 1024 * 1024,
  /** …or so many keys, whichever comes first. */
  combineKeys: 2_000_000,
  /** Open batches of all buckets of a map task together; more are encoded before they are full. */
  openBatchesBytes: 64 * 1024 * 1024,
  /** Open batches are encoded after so many text blocks (16 MiB), because a slice keeps its whole block alive. */
  releaseTextBlocks: 256,
  /** The same for decoded batches, which are up to 1 MiB each. */
  releaseRowBlocks: 32,
  /** Fewer keys are sorted by comparing: a radix pass costs a table of 65,536 counters. */
  radixKeysMin: 16_384,
  /** Characters of saved text that are encoded at once. */
  saveChunkChars: 64 * 1024,
  /** Compiled pipelines kept per job; at the bound all of the job are forgotten and compiled again when needed. */
  pipelinesMax: 1024,
} as const
