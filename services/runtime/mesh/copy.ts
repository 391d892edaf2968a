import {
  clone,
  create,
  type DescMessage,
  isMessage,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";

/**
 * A message of the receiver's own, as a wire would make it: nothing that the other side does to its own later shows.
 */
export function copyOf<D extends DescMessage>(schema: D, init: MessageInitShape<D>): MessageShape<D> {
  return clone(schema, create(schema, init));
}

/**
 * A message that crosses between two sides. In a trusted call it is handed over as it is, and whoever made it does not
 * change it any more: a batch of a thousand records costs nothing to pass. In any other it is copied.
 */
export function handedOver<D extends DescMessage>(
  schema: D,
  init: MessageInitShape<D>,
  trusted: boolean,
): MessageShape<D> {
  return trusted && isMessage(init, schema) ? init : copyOf(schema, init);
}
