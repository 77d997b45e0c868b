import { connect as connectAnywhere, type ConnectOptions, type Mesh } from '../../index.ts'

/** What `import … from 'shoal'` gives a module run by `shoal run`: the library, whose meshes the command line watches. */
export * from '../../index.ts'

let onMesh: (mesh: Mesh) => void = () => {}

export async function connect(options: ConnectOptions = {}): Promise<Mesh> {
  const mesh = await connectAnywhere(options)
  onMesh(mesh)
  return mesh
}

/** Not for jobs: tells the command line of each mesh that a job opens. */
export function watchMeshes(listener: (mesh: Mesh) => void): void {
  onMesh = listener
}
