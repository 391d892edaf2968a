import { LRUCache } from "lru-cache";
import { Turns } from "../../runtime/turns.ts";
import type { ToWorker } from "./messages.ts";

/** Recent texts and their ids, in bytes: some long conversations, or thousands of short ones. */
const cacheBytesMax = 67_108_864;
const bytesPerCharacter = 2;
const bytesPerId = 4;

/** A text of more characters than this is long. */
const longText = 65_536;

type Order = Extract<ToWorker, { kind: "encode" }>;

/** A text, and how it is to be encoded. */
export type Wanted = Omit<Order, "kind" | "number">;

/** One that is encoded, or waits for it: who asks for the same meanwhile waits along. */
interface Encoding {
  readonly id: string;
  /** Who asked first. */
  readonly owner: string;
  readonly order: Order;
  readonly ids: Promise<Uint32Array>;
  readonly answered: (ids: Uint32Array) => void;
  readonly failed: (error: Error) => void;
  waiting: number;
}

/**
 * The texts that a thread is asked to encode. Long ones are given to it one at a time, so that short ones and the
 * machine's other work find a free core; their owners take turns, and one that nobody waits for any more is dropped.
 */
export class Encodings {
  readonly #send: (order: Order) => void;
  readonly #cache = new LRUCache<string, Uint32Array>({
    maxSize: cacheBytesMax,
    sizeCalculation: (ids, id) => id.length * bytesPerCharacter + ids.length * bytesPerId + 1,
  });
  readonly #known = new Map<string, Encoding>();
  /** By number, those that the thread has. */
  readonly #sent = new Map<number, Encoding>();
  readonly #turns = new Turns<Encoding>();
  #long: Encoding | undefined;
  #numbers = 0;

  constructor(send: (order: Order) => void) {
    this.#send = send;
  }

  /**
   * Rejects with an Error where it can't be encoded, and with the signal's reason.
   *
   * @param digest of the tokenizer's file.
   * @param owner whose long texts take turns with those of others.
   */
  encode(wanted: Wanted, digest: string, owner: string, signal?: AbortSignal): Promise<Uint32Array> {
    signal?.throwIfAborted();
    const { special, seam = "", text } = wanted;
    const id = `${special ? "+" : "-"}${seam.length}${seam}${digest}${text}`;
    const cached = this.#cache.get(id);
    if (cached) return Promise.resolve(cached);
    const encoding = this.#known.get(id) ?? this.#begin(id, wanted, owner);
    encoding.waiting += 1;
    return signal ? this.#unless(signal, encoding) : encoding.ids;
  }

  /** The thread has encoded one. */
  encoded(number: number, ids: Uint32Array): void {
    const encoding = this.#over(number);
    if (!encoding) return;
    this.#cache.set(encoding.id, ids);
    encoding.answered(ids);
  }

  /** It could not. */
  failed(number: number, error: Error): void {
    this.#over(number)?.failed(error);
  }

  /** The thread is gone, and what it was asked with it. */
  lost(error: Error): void {
    this.#turns.clear();
    this.#long = undefined;
    this.#sent.clear();
    const lost = [...this.#known.values()];
    this.#known.clear();
    for (const { failed } of lost) failed(error);
  }

  #begin(id: string, wanted: Wanted, owner: string): Encoding {
    const { promise, resolve, reject } = Promise.withResolvers<Uint32Array>();
    this.#numbers += 1;
    const order: Order = { kind: "encode", number: this.#numbers, ...wanted };
    const encoding = { id, owner, order, ids: promise, answered: resolve, failed: reject, waiting: 0 };
    this.#known.set(id, encoding);
    if (wanted.text.length <= longText) this.#give(encoding);
    else {
      this.#turns.add(owner, encoding);
      this.#next();
    }
    return encoding;
  }

  #give(encoding: Encoding): void {
    this.#sent.set(encoding.order.number, encoding);
    this.#send(encoding.order);
  }

  #next(): void {
    if (this.#long) return;
    this.#long = this.#turns.take();
    if (this.#long) this.#give(this.#long);
  }

  #over(number: number): Encoding | undefined {
    const encoding = this.#sent.get(number);
    if (!encoding) return undefined;
    this.#sent.delete(number);
    this.#known.delete(encoding.id);
    if (encoding === this.#long) {
      this.#long = undefined;
      this.#next();
    }
    return encoding;
  }

  #unless(signal: AbortSignal, encoding: Encoding): Promise<Uint32Array> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        reject(signal.reason as Error);
        encoding.waiting -= 1;
        if (encoding.waiting === 0) this.#drop(encoding);
      };
      signal.addEventListener("abort", leave, { once: true });
      encoding.ids.finally(() => signal.removeEventListener("abort", leave)).then(resolve, reject);
    });
  }

  /** What the thread has it finishes. */
  #drop(encoding: Encoding): void {
    const { id, owner, order } = encoding;
    if (this.#known.get(id) !== encoding || this.#sent.has(order.number)) return;
    this.#turns.drop(owner, encoding);
    this.#known.delete(id);
  }
}
