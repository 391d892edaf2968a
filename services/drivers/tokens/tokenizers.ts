import { Worker } from "node:worker_threads";
import type { Tokenizer as Source } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import type { Clock } from "../../runtime/clock.ts";
import { Encodings } from "./encodings.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { Vocabulary } from "./vocabulary.ts";

/** A model's tokenizer. It is read on first use; until then, and while it encodes, nothing else waits. */
export interface Tokenizer {
  /** What its tokens are. Rejects with an Error if the tokenizer can't be used. */
  readonly vocabulary: Promise<Vocabulary>;
  /**
   * The ids of a text. They may be another caller's too, and are not to be changed. Rejects with an Error if the tokenizer
   * can't be used, and with the signal's reason.
   */
  encode(text: string, how: Encode): Promise<Uint32Array>;
}

/** How a text is encoded. */
export interface Encode {
  /** Long texts wait for one another: whose turns they take. */
  readonly owner: string;
  /** The model's own tokens are put around it, as a tokenizer does with a text that is a whole input. */
  readonly special: boolean;
  /** No token reaches over it, and it is none itself. Undefined: there is none. */
  readonly seam?: string | undefined;
  /** Nobody waits for the ids any more. */
  readonly signal?: AbortSignal | undefined;
}

/** The tokenizers of a process, on a thread of their own. */
export interface Tokenizers extends AsyncDisposable {
  /** The tokenizer of that file: the same each time. */
  of(source: Source): Tokenizer;
}

export interface TokenizersOptions {
  readonly clock: Clock;
  /** A tokenizer can't be used: told each time that its file was read. */
  readonly unusable: (path: string, problem: string) => void;
}

/** A file that can't be used may be mended: whoever asks this long after it was read, in milliseconds, has it read again. */
const rereadAfterMs = 10_000;
interface Loading {
  readonly path: string;
  readonly answered: (packed: Extract<FromWorker, { kind: "loaded" }>["vocabulary"]) => void;
  readonly failed: (error: Error) => void;
}

/** Builds them. The thread is started with the first tokenizer. */
export function createTokenizers({ clock, unusable }: TokenizersOptions): Tokenizers {
  const known = new Map<string, Tokenizer>();
  /** When the files were read that can't be used. */
  const unusableMs = new Map<string, number>();
  const loading = new Map<string, Loading>();
  const encodings = new Encodings((order) => send(order));
  let worker: Worker | undefined;

  function hear(message: FromWorker): void {
    if (message.kind === "loaded") {
      loading.get(message.key)?.answered(message.vocabulary);
      loading.delete(message.key);
    } else if (message.kind === "unusable") {
      const asked = loading.get(message.key);
      loading.delete(message.key);
      unusableMs.set(message.key, clock.monotonicMs());
      if (asked) unusable(asked.path, message.problem);
      asked?.failed(new Error(message.problem));
    } else if (message.kind === "encoded") encodings.encoded(message.number, message.ids);
    else encodings.failed(message.number, new Error(message.problem));
  }

  /** What it was asked is lost with it. Tokenizers are read again when they are asked for again. */
  function lost(error: Error): void {
    worker = undefined;
    known.clear();
    unusableMs.clear();
    for (const { failed } of loading.values()) failed(error);
    loading.clear();
    encodings.lost(error);
  }

  function send(message: ToWorker): void {
    if (!worker) {
      const started = new Worker(new URL("./worker.ts", import.meta.url), { name: "tokenizers" });
      // It does nothing by itself, and a process that has nothing else to do may end.
      started.unref();
      started.on("message", hear);
      started.on("error", lost);
      worker = started;
    }
    worker.postMessage(message);
  }

  function load(key: string, { path, sha256, endIds, padId }: Source): Promise<Vocabulary> {
    const vocabulary = new Promise<Vocabulary>((answered, failed) => {
      loading.set(key, {
        path,
        answered: (packed) => answered(new Vocabulary(packed, endIds, padId < 0 ? undefined : padId)),
        failed,
      });
      send({ kind: "load", key, path, sha256 });
    });
    // Whoever encodes hears of it.
    vocabulary.catch(() => undefined);
    return vocabulary;
  }

  function open(key: string, source: Source): Tokenizer {
    const vocabulary = load(key, source);
    return {
      vocabulary,
      async encode(text, { owner, special, seam, signal }) {
        await vocabulary;
        return await encodings.encode({ key, text, special, seam }, source.sha256, owner, signal);
      },
    };
  }

  return {
    of(source) {
      const key = `${source.sha256} ${source.path}`;
      if (clock.monotonicMs() - (unusableMs.get(key) ?? Infinity) >= rereadAfterMs) {
        unusableMs.delete(key);
        known.delete(key);
      }
      const tokenizer = known.get(key) ?? open(key, source);
      known.set(key, tokenizer);
      return tokenizer;
    },
    async [Symbol.asyncDispose]() {
      const ending = worker;
      lost(new Error("the tokenizers are closed"));
      await ending?.terminate();
    },
  };
}
