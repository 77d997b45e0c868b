export { estimateBytes } from './estimate-bytes.ts'
export { countRows, decodeBatches, decodePairBatches, decodeRows, wholeBatchBytes } from './row-decoder.ts'
export type { PairColumns } from './row-decoder.ts'
export { encodeRows, joined, PairEncoder, RowEncoder } from './row-encoder.ts'
