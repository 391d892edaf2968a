import { clone, create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";

/**
 * A message of the receiver's own, as a wire would make it: nothing that the other side does to its own later shows.
 */
export function copyOf<D extends DescMessage>(schema: D, init: MessageInitShape<D>): MessageShape<D> {
  return clone(schema, create(schema, init));
}
