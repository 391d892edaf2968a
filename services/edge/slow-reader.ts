import { constants } from "node:http2";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock, Timer } from "../runtime/clock.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { HttpWriter } from "./exchange.ts";

/** How long a reader may take nothing of what waits for it. */
export interface Patience {
  readonly clock: Clock;
  readonly slowReaderTimeoutMs: number;
  /** Told that its reader was cut. */
  failed(error: WeirError): void;
}

/** Bytes of a long body that are handed over at once. A reader who takes these in time is not too slow. */
const pieceBytes = 262_144;

/** A body as its text, or as the bytes of one that was written over several turns: pieces, none of them empty. */
export type Body = string | readonly Buffer[];

export function bytesIn(body: Body): number {
  return typeof body === "string" ? Buffer.byteLength(body) : body.reduce((sum, piece) => sum + piece.length, 0);
}

/** Ends an answer with the rest of its body, or with nothing. A reader who does not take it is cut. */
export function endPatiently(patience: Patience, response: HttpWriter, body: Body): void {
  if (typeof body !== "string") return endInPieces(patience, response, body);
  if (body.length > pieceBytes) return endInPieces(patience, response, [Buffer.from(body)]);
  if (body === "") response.end();
  else response.end(body);
  watchEnd(patience, response);
}

/** Of one piece nobody could tell whether its reader takes some of it. */
function endInPieces(patience: Patience, response: HttpWriter, body: readonly Buffer[]): void {
  // What is handed over is not held any more.
  const pieces = body.flatMap(shortPieces);
  let timer: Timer | undefined;
  const next = () => {
    timer?.cancel();
    timer = undefined;
    for (let piece = pieces.shift(); piece; piece = pieces.shift()) {
      if (pieces.length === 0) {
        response.off("drain", next);
        response.end(piece);
        watchEnd(patience, response);
      } else if (!response.write(piece)) {
        timer = cutLater(patience, response);
        return;
      }
    }
  };
  response.on("drain", next);
  response.once("close", () => timer?.cancel());
  next();
}

function shortPieces(bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  return pieces;
}

/** Cuts the reader of an ended answer, should it leave the last bytes with us. Nearly always they are gone at once. */
export function watchEnd(patience: Patience, response: HttpWriter): void {
  if (response.writableLength === 0) return;
  let timer: Timer | undefined;
  let closed = false;
  response.once("close", () => {
    closed = true;
    timer?.cancel();
  });
  // HTTP/2 sends when the turn is over.
  setImmediate(() => {
    if (!closed && response.writableLength > 0) timer = cutLater(patience, response);
  });
}

function cutLater(patience: Patience, response: HttpWriter): Timer {
  const set = () =>
    patience.clock.setTimer(patience.slowReaderTimeoutMs, () => {
      // An answer behind another on its connection is not its reader's to take yet.
      if (response.socket === null && !response.req.socket.destroyed) timer = set();
      else if (response.writableLength > 0) cutReader(patience, response);
    });
  let timer = set();
  return { cancel: () => timer.cancel() };
}

/** What waits can't be delivered: nothing that is added would be. Returns why, as the exchange was told. */
export function cutReader(patience: Patience, response: HttpWriter): WeirError {
  const { stream } = response;
  const error = fail(ErrorReason.SLOW_READER, { pending_bytes: String(response.writableLength) });
  if (stream) {
    // A whole connection that takes nothing hears of no stream's end.
    const timer = patience.clock.setTimer(patience.slowReaderTimeoutMs, () => stream.session?.destroy());
    response.once("close", () => timer.cancel());
    // A stream that is merely destroyed ends with "no error" on HTTP/2, as if it were whole.
    stream.close(constants.NGHTTP2_CANCEL);
  } else {
    response.destroy();
  }
  patience.failed(error);
  return error;
}
