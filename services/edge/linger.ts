import type { HttpRequest } from "../runtime/server/app.ts";
import type { HttpWriter } from "./exchange.ts";
import { type Body, endPatiently, type Patience } from "./slow-reader.ts";

/** A body that is not wanted is read up to this many bytes, so that its sender sees the answer and not a reset. */
const unwantedBytesMax = 65_536;
/** And for this long. */
const unwantedMs = 1_000;

/**
 * Answers a request whose body may still be on its way. `head` writes the head and returns the body; it is told whether
 * the connection ends with this answer, as it does when more is to come than is worth reading.
 */
export function drainThen(
  patience: Patience,
  request: HttpRequest,
  response: HttpWriter,
  head: (closing: boolean) => Body,
): void {
  if (request.complete || isShort(request)) {
    const body = head(false);
    request.resume();
    endPatiently(patience, response, body);
    return;
  }
  // HTTP/2 has no connection to close: the stream alone ends.
  const http1 = request.httpVersionMajor === 1;
  const body = head(http1);
  if (!http1 || body === "") {
    endPatiently(patience, response, body);
    return;
  }
  // The whole body is out, and only its end is held back: Node closes the connection at once after that.
  for (const piece of typeof body === "string" ? [body] : body) response.write(piece);
  let unwanted = 0;
  const done = () => {
    timer.cancel();
    request.off("data", count).off("end", done);
    if (!response.writableEnded) endPatiently(patience, response, "");
  };
  const count = (chunk: Buffer) => {
    unwanted += chunk.length;
    // Closing now would reset the connection under a sender who has not read its answer.
    if (unwanted > unwantedBytesMax) request.pause();
  };
  const timer = patience.clock.setTimer(unwantedMs, done);
  request.on("data", count).on("end", done);
  response.once("close", done);
}

/** No body, or one that is not worth a connection. */
function isShort({ headers }: HttpRequest): boolean {
  const length = headers["content-length"];
  if (length !== undefined) return Number(length) <= unwantedBytesMax;
  return headers["transfer-encoding"] === undefined;
}
