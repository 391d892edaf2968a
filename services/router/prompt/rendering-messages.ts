import type { Rendered, RenderOrder } from "./rendering.ts";

/** What the thread that renders is told. */
export interface ToRenderer {
  readonly number: number;
  readonly source: string;
  readonly sha256: string;
  readonly controlTokens: readonly string[];
  readonly order: Omit<RenderOrder, "input">;
  /** The order's `input` as JSON: as objects it would take several times as long to be handed over. */
  readonly inputJson: string;
}

/** What it tells. */
export interface FromRenderer {
  readonly number: number;
  readonly rendered: Rendered;
}
