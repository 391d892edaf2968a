import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { Tokenizer } from "tokenizers";
import { membersOf, tokenDecoderOf } from "../../runtime/config/token-decoder.ts";
import type { FromWorker, ToWorker } from "./messages.ts";
import { type PackedVocabulary, packVocabulary } from "./vocabulary.ts";

// A thread of its own for what the library does on the thread that asks: reading a tokenizer, and handing out the ids of a
// long text, are tenths of a second. The encoding itself runs on a native thread.

const loaded = new Map<string, Tokenizer>();

/** Pieces that are encoded at a time: others find a turn between. */
const piecesMax = 512;

parentPort?.on("message", (message: ToWorker) => {
  if (message.kind === "load") load(message);
  else void encode(message);
});

function tell(message: FromWorker, transfer: readonly ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, [...transfer]);
}

function load({ key, path, sha256 }: Extract<ToWorker, { kind: "load" }>): void {
  try {
    const bytes = readFileSync(path);
    const digest = createHash("sha256").update(bytes).digest("hex");
    if (digest !== sha256) throw new Error(`${path} has the SHA-256 ${digest}, and ${sha256} is asked for`);
    const text = bytes.toString("utf8");
    const tokenizer = Tokenizer.fromString(text);
    // A model's own limit is the engine's affair: a prompt that is cut without a word is another prompt.
    tokenizer.disableTruncation();
    tokenizer.disablePadding();
    const vocabulary = vocabularyOf(tokenizer, JSON.parse(text));
    loaded.set(key, tokenizer);
    tell({ kind: "loaded", key, vocabulary }, [
      vocabulary.bytes.buffer,
      vocabulary.offsets.buffer,
      vocabulary.special.buffer,
    ]);
  } catch (error) {
    tell({ kind: "unusable", key, problem: problemOf(error) });
  }
}

function vocabularyOf(tokenizer: Tokenizer, json: unknown): PackedVocabulary {
  const members = membersOf(json);
  const decoder = tokenDecoderOf(members?.get("decoder"));
  if (typeof decoder === "string") throw new Error(`it decodes with ${decoder}, from which no text can be streamed`);
  const added = members?.get("added_tokens");
  const special = new Set(
    (Array.isArray(added) ? (added as readonly unknown[]) : [])
      .map(membersOf)
      .filter((one) => one?.get("special") === true)
      .map((one) => one?.get("id")),
  );
  const entries = Object.entries(tokenizer.getVocab(true));
  return packVocabulary(
    entries.map(([token, id]) => ({ id, token, special: special.has(id) })),
    decoder,
  );
}

async function encode({ number, key, text, special, seam }: Extract<ToWorker, { kind: "encode" }>): Promise<void> {
  try {
    const tokenizer = loaded.get(key);
    if (!tokenizer) throw new Error("the tokenizer is not there");
    const ids = await idsOf(tokenizer, seam ? text.split(seam) : [text], special);
    tell({ kind: "encoded", number, ids }, [ids.buffer]);
  } catch (error) {
    tell({ kind: "failed", number, problem: problemOf(error) });
  }
}

/** The ids of pieces, one behind the other. */
async function idsOf(
  tokenizer: Tokenizer,
  pieces: readonly string[],
  addSpecialTokens: boolean,
): Promise<Uint32Array<ArrayBuffer>> {
  const all: number[] = [];
  for (let at = 0; at < pieces.length; at += piecesMax) {
    const encodings = await tokenizer.encodeBatch(pieces.slice(at, at + piecesMax), { addSpecialTokens });
    for (const encoding of encodings) for (const id of encoding.getIds()) all.push(id);
  }
  return Uint32Array.from(all);
}

function problemOf(error: unknown): string {
  return error instanceof Error ? error.message : "unknown";
}
