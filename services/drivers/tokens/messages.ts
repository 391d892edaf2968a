import type { PackedVocabulary } from "./vocabulary.ts";

/** What the thread of the tokenizers is told. Keys stand for tokenizers, numbers for questions. */
export type ToWorker =
  | { readonly kind: "load"; readonly key: string; readonly path: string; readonly sha256: string }
  | {
      readonly kind: "encode";
      readonly number: number;
      readonly key: string;
      readonly text: string;
      /** Whether the model's own tokens are put around it, as a tokenizer does with a text that is a whole input. */
      readonly special: boolean;
      /** What stands on its two sides is encoded apart. Undefined: the text is one. */
      readonly seam: string | undefined;
    };

/** What the thread of the tokenizers tells. */
export type FromWorker =
  | { readonly kind: "loaded"; readonly key: string; readonly vocabulary: PackedVocabulary }
  | { readonly kind: "unusable"; readonly key: string; readonly problem: string }
  | { readonly kind: "encoded"; readonly number: number; readonly ids: Uint32Array<ArrayBuffer> }
  | { readonly kind: "failed"; readonly number: number; readonly problem: string };
