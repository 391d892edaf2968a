import type { PieceForm } from "./pieces.ts";

/** The name of a server's only model: it has none of its own, and takes every name for it. */
export const modelName = "tgis";

/** What the driver has to know of a server to speak to it. */
export interface TgisInterface {
  /** The most tokens that may be asked for; 0: it does not say. */
  readonly maxNewTokens: number;
  /** How its tokens are written; undefined: in no form that is known. */
  readonly pieces: PieceForm | undefined;
  /** Whether its contract has forms of an answer: the adapter's has; a server without them would drop what it is told. */
  readonly guides: boolean;
}
