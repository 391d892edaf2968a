import { hash } from "node:crypto";

/** Whose a request is and what it asked for: what sums are kept by. */
export interface SeriesNames {
  readonly orgId: string;
  readonly projectId: string;
  readonly keyId: string;
  readonly userId: string;
  readonly requestedModel: string;
  readonly model: string;
  readonly operation: string;
}

/** A combination of names with its id: 16 bytes of their digest, the same in every process and database. */
export interface Series extends SeriesNames {
  readonly id: Buffer;
}

/** What the names of a record come to. */
export interface Named {
  readonly series: Series;
  readonly replicaId: string;
}

/** Names that were met before: they repeat from record to record, and are checked and digested once. */
export interface SeriesIndex {
  /** The series of names; undefined if one of them is not acceptable. */
  seriesOf(names: SeriesNames): Series | undefined;
  /** What a piece of a record's bytes comes to, which `read` finds out for a piece that is new. */
  named(piece: string, read: () => Named | undefined): Named | undefined;
}

/** A busy installation has some thousands at a time; 10,000 take about 5 MiB. */
const keptMax = 10_000;

const id = /^[a-z0-9][a-z0-9-]{0,62}$/;
const key = /^[A-Za-z0-9]{1,32}$/;
const user = /^[A-Za-z0-9._-]{0,64}$/;
const operationShape = /^[a-z][a-z_]{0,31}$/;
const modelLengthMax = 256;

/** Builds an index that knows none. */
export function createSeriesIndex(): SeriesIndex {
  const known = new Map<string, Series>();
  const pieces = new Map<string, Named>();

  const seriesOf = (names: SeriesNames): Series | undefined => {
    const text = textOf(names);
    const found = known.get(text);
    if (found !== undefined) return found;
    if (!acceptable(names)) return undefined;
    if (known.size >= keptMax) known.clear();
    const { orgId, projectId, keyId, userId, requestedModel, model, operation } = names;
    const series = {
      orgId,
      projectId,
      keyId,
      userId,
      requestedModel,
      model,
      operation,
      id: hash("sha256", text, "buffer").subarray(0, 16),
    };
    known.set(text, series);
    return series;
  };

  return {
    seriesOf,
    named(piece, read) {
      const found = pieces.get(piece);
      if (found !== undefined) return found;
      const named = read();
      if (named === undefined) return undefined;
      if (pieces.size >= keptMax) pieces.clear();
      pieces.set(piece, named);
      return named;
    },
  };
}

// No name holds U+0000, so that no two combinations have the same text.
function textOf(names: SeriesNames): string {
  const { orgId, projectId, keyId, userId, requestedModel, model } = names;
  return `${orgId}\0${projectId}\0${keyId}\0${userId}\0${requestedModel}\0${model}\0${names.operation}`;
}

function acceptable(names: SeriesNames): boolean {
  return (
    id.test(names.orgId) &&
    id.test(names.projectId) &&
    key.test(names.keyId) &&
    user.test(names.userId) &&
    operationShape.test(names.operation) &&
    isModel(names.requestedModel) &&
    isModel(names.model)
  );
}

function isModel(name: string): boolean {
  return name !== "" && (name.length <= modelLengthMax || Array.from(name).length <= modelLengthMax);
}
