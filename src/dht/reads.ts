import type { Incoming, MessageType, Transport } from '../base/index.ts'
import type { FileServicePorts } from './file-ports.ts'
import type { Consistency } from './file-reader.ts'
import type { AsOf } from './messages.ts'
import type { NamespaceView } from './namespace-types.ts'

type ReadPorts = Pick<FileServicePorts, 'readBarrier' | 'namespace' | 'asOf'>

/**
 * Answers reads of the namespace: with everything that was acknowledged before the question, or, when it allows that, with
 * what is here, and says how old that is.
 */
export function handleRead<
  Request extends { consistency?: Consistency | undefined },
  Reply extends { asOf?: AsOf | undefined },
>(
  transport: Transport,
  ports: ReadPorts,
  type: MessageType<Request, Reply>,
  answer: (namespace: NamespaceView, incoming: Incoming<Request>) => Promise<NoInfer<Reply>> | NoInfer<Reply>,
): void {
  transport.handle(type, async incoming => {
    const { head, signal } = incoming
    if (head.consistency === 'stale') {
      const asOf = ports.asOf()
      return { ...(await answer(ports.namespace(), incoming)), asOf }
    }
    await ports.readBarrier({ signal })
    return await answer(ports.namespace(), incoming)
  })
}
