import { brotliDecompress, gunzip, inflate } from "node:zlib";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail, type WeirError } from "../runtime/errors/fail.ts";
import type { Timer } from "../runtime/clock.ts";
import type { HttpSettings } from "../runtime/config/settings.ts";
import type { Exchange } from "./exchange.ts";
import { type JsonObject, parseJsonObject } from "./json/parse.ts";
import { requestTimeout, unsupportedEncoding, unsupportedMediaType } from "./refusal.ts";
import { headerOf } from "./request-headers.ts";

/**
 * Reads the JSON object that is a request's body, and hands it to `next`. What is wrong with it is answered here. A
 * caller who leaves meanwhile gets no answer, and `next` is not called.
 */
export function readJsonBody(exchange: Exchange, http: HttpSettings, next: (body: JsonObject) => void): void {
  const { request } = exchange;
  if (!isJson(headerOf(request, "content-type"))) return exchange.refuse(unsupportedMediaType);
  const encoding = headerOf(request, "content-encoding")?.trim().toLowerCase() ?? "identity";
  const inflater = inflaters.get(encoding);
  if (inflater === undefined) return exchange.refuse(unsupportedEncoding);
  readBytes(exchange, http, (bytes) =>
    inflater(bytes, exchange, http.bodyBytesMax, (plain) => parse(exchange, plain, next)),
  );
}

function parse(exchange: Exchange, bytes: Buffer, next: (body: JsonObject) => void): void {
  exchange.attempt(() => {
    const parsed = parseJsonObject(bytes);
    if ("value" in parsed) next(parsed.value);
    else throw fail(ErrorReason.INVALID_ARGUMENT, { ...parsed });
  });
}

/** Missing is JSON: nothing else is taken here. */
function isJson(contentType: string | undefined): boolean {
  if (!contentType || contentType === "application/json") return true;
  const [type = "", ...parameters] = contentType
    .toLowerCase()
    .split(";")
    .map((part) => part.trim());
  if (type !== "application/json" && !/^application\/[\w.-]+\+json$/.test(type)) return false;
  const charset = parameters.find((parameter) => parameter.startsWith("charset="));
  return charset === undefined || /^charset="?(?:utf-?8|us-ascii)"?$/.test(charset);
}

/** A longer body is refused as soon as that is known, from its stated length or while it comes. */
function readBytes(exchange: Exchange, http: HttpSettings, next: (bytes: Buffer) => void): void {
  const { request } = exchange;
  // Made when it is needed: an error costs more than reading a short body.
  const tooLarge = () => fail(ErrorReason.REQUEST_TOO_LARGE, { limit: String(http.bodyBytesMax) });
  if (Number(headerOf(request, "content-length") ?? 0) > http.bodyBytesMax) return exchange.fail(tooLarge());
  let chunks: Buffer[] = [];
  let size = 0;
  let over = false;
  let timer: Timer | undefined;
  const stop = () => {
    over = true;
    chunks = [];
    timer?.cancel();
  };
  // HTTP/1 requests are timed by the server.
  if (request.httpVersionMajor !== 1) {
    timer = exchange.clock.setTimer(http.requestTimeoutMs, () => {
      stop();
      exchange.refuse(requestTimeout);
    });
    request.on("close", stop);
  }
  request.on("data", (chunk: Buffer) => {
    if (over) return;
    size += chunk.length;
    if (size <= http.bodyBytesMax) {
      chunks.push(chunk);
      return;
    }
    stop();
    exchange.fail(tooLarge());
  });
  request.on("end", () => {
    if (over) return;
    const [first] = chunks;
    const bytes = first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks);
    stop();
    next(bytes);
  });
}

function tooLarge(bytesMax: number): WeirError {
  return fail(ErrorReason.REQUEST_TOO_LARGE, { limit: String(bytesMax) });
}

type Inflate = (bytes: Buffer, exchange: Exchange, bytesMax: number, next: (plain: Buffer) => void) => void;
type Unpacked = (error: Error | null, plain: Buffer) => void;
type Unpack = (bytes: Buffer, options: { maxOutputLength: number }, done: Unpacked) => void;

/** One layer: two in one header name no encoding of ours. */
const inflaters: ReadonlyMap<string, Inflate> = new Map<string, Inflate>([
  ["identity", (bytes, _exchange, _max, next) => next(bytes)],
  ["gzip", inflateBy(gunzip)],
  ["x-gzip", inflateBy(gunzip)],
  ["deflate", inflateBy(inflate)],
  ["br", inflateBy(brotliDecompress)],
]);

function inflateBy(unpack: Unpack): Inflate {
  return (bytes, exchange, bytesMax, next) => {
    unpack(bytes, { maxOutputLength: bytesMax }, (error, plain) => {
      if (error === null) next(plain);
      else if (isTooLarge(error)) exchange.fail(tooLarge(bytesMax));
      else exchange.refuse(unsupportedEncoding);
    });
  };
}

function isTooLarge(error: Error): boolean {
  return "code" in error && error.code === "ERR_BUFFER_TOO_LARGE";
}
