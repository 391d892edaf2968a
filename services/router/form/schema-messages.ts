import type { SchemaProblem } from "./schema-rules.ts";

/** What the thread that checks is told. */
export interface ToChecker {
  readonly number: number;
  /** JSON text. */
  readonly schema: string;
  /** What to hold against it; undefined: the schema itself is looked at. */
  readonly answer: { readonly kind: "json" | "text"; readonly text: string } | undefined;
}

/** What it tells. It is ready once, at its beginning. */
export type FromChecker =
  | { readonly kind: "ready" }
  | { readonly kind: "schema"; readonly number: number; readonly problem: SchemaProblem | undefined }
  | { readonly kind: "answer"; readonly number: number; readonly problem: string | undefined };
