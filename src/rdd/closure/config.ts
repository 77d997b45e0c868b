/** Bounds of one captured closure: it goes to every peer that runs a task of the job. */
export const closureLimits = {
  /** Bytes of text and captured values; beyond it a broadcast is the better way. @default 1 MiB */
  maxBytes: 1 << 20,
  /** A capture larger than this gets a warning: it still travels once per peer. */
  warnBytes: 64 << 10,
  /**
   * Functions, instances and containers of containers in one graph; rows of primitives do not count, `maxBytes`
   * bounds those. More than this is a whole program caught by accident. It also bounds the depth of recursion.
   */
  maxNodes: 1000,
  /** Parsed function texts kept; capture of the same text again skips the parser. */
  parsedTextsMax: 512,
} as const
