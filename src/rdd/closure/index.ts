export { capture, captureValue, type CaptureOptions } from './capture.ts'
export { instancesCanTravel } from './class-instances.ts'
export { encodeClosure } from './closure-codec.ts'
export type { CapturedClosure, SourceLocation } from './closure-graph.ts'
export { closureLimits } from './config.ts'
export { functionLocation } from './function-location.ts'
export { isPlainData } from './plain-data.ts'
export { reviveClosure, reviveValue, type ReviveContext } from './revive.ts'
export { SharedHandle, type SharedPort, type ShippedHandle } from './shared-handle.ts'
export {
  packageMissing,
  Packages,
  usePackagesOf,
  type PackageCheck,
  type PackageLack,
  type PackageNeed,
} from './packages.ts'
