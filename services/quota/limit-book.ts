import {
  type Limit,
  type Operation,
  Operation as Operations,
  SubjectKind,
} from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import type { LimitReading, LimitVersion } from "./limit-store.ts";

/** Whose requests, and which of them. */
export interface Asked {
  readonly consumer: Owners | undefined;
  /** Empty: of any model. */
  readonly model: string;
  /** UNSPECIFIED: of any kind. */
  readonly operation: Operation;
}

/** Whose a request is; an empty id stands for nobody. */
export interface Owners {
  readonly orgId: string;
  readonly projectId: string;
  readonly userId: string;
  readonly keyId: string;
}

/** Every limit of the installation, by whom it limits. */
export interface LimitBook {
  /** The newest revision that it has. 0: nothing was read so far. */
  readonly revision: bigint;
  readonly size: number;
  /** The limits that count a request: those of the installation first, those of the key last. */
  applying(asked: Asked): readonly Limit[];
  get(limitId: string): Limit | undefined;
  all(): Iterable<Limit>;
  /**
   * Learns what changed, and returns what of it was new, by revision.
   *
   * @param whole the changes are all limits that there are: what is not among them is gone.
   */
  learn(reading: LimitReading, whole: boolean): readonly LimitVersion[];
}

interface Entry {
  readonly limit: Limit;
  readonly subject: string;
  readonly counts: (asked: Asked) => boolean;
}

const none: readonly Limit[] = [];

/** Builds an empty book. */
export function createLimitBook(): LimitBook {
  const byId = new Map<string, Entry>();
  const bySubject = new Map<string, Map<string, Entry>>();
  let revision = 0n;

  const remove = (limitId: string): void => {
    const entry = byId.get(limitId);
    if (entry === undefined) return;
    byId.delete(limitId);
    const others = bySubject.get(entry.subject);
    others?.delete(limitId);
    if (others?.size === 0) bySubject.delete(entry.subject);
  };

  const put = (limit: Limit): void => {
    remove(limit.id);
    const entry = entryFrom(limit);
    byId.set(limit.id, entry);
    const others = bySubject.get(entry.subject) ?? new Map<string, Entry>();
    bySubject.set(entry.subject, others.set(limit.id, entry));
  };

  /** What a reading of all limits does not name any more. */
  const missing = ({ changes, revision: at }: LimitReading): LimitVersion[] => {
    const there = new Set(changes.map(({ limit }) => limit.id));
    const gone = [...byId.values()].filter(({ limit }) => !there.has(limit.id));
    return gone.map(({ limit }) => ({ limit: { ...limit, revision: at }, deleted: true }));
  };

  return {
    get revision() {
      return revision;
    },
    get size() {
      return byId.size;
    },
    applying(asked) {
      if (byId.size === 0 || asked.consumer === undefined) return none;
      const found: Limit[] = [];
      for (const subject of subjectsOf(asked.consumer)) {
        for (const { limit, counts } of bySubject.get(subject)?.values() ?? []) {
          if (counts(asked)) found.push(limit);
        }
      }
      return found;
    },
    get: (limitId) => byId.get(limitId)?.limit,
    *all() {
      for (const { limit } of byId.values()) yield limit;
    },
    learn(reading, whole) {
      const changes = whole ? [...missing(reading), ...reading.changes] : reading.changes;
      const news = changes.filter(({ limit, deleted }) => {
        const known = byId.get(limit.id)?.limit;
        return deleted ? known !== undefined : known === undefined || whole || known.revision < limit.revision;
      });
      for (const { limit, deleted } of news) {
        if (deleted) remove(limit.id);
        else put(limit);
      }
      revision = reading.revision;
      return news;
    },
  };
}

function entryFrom(limit: Limit): Entry {
  const { spec } = limit;
  const subject = spec?.subject;
  const models = matcherOf(spec?.models ?? []);
  const operations = new Set<Operation>(spec?.operations ?? []);
  return {
    limit,
    // A user's id means somebody within one organisation only.
    subject: subjectKey(
      subject?.kind ?? SubjectKind.UNSPECIFIED,
      subject?.id ?? "",
      subject?.kind === SubjectKind.USER ? limit.orgId : "",
    ),
    counts: ({ model, operation }) =>
      (model === "" || models(model)) &&
      (operations.size === 0 || operation === Operations.UNSPECIFIED || operations.has(operation)),
  };
}

/** A name that ends in `*` stands for any ending; no name at all for every model. */
function matcherOf(names: readonly string[]): (model: string) => boolean {
  if (names.length === 0) return () => true;
  const whole = new Set(names.filter((name) => !name.endsWith("*")));
  const beginnings = names.filter((name) => name.endsWith("*")).map((name) => name.slice(0, -1));
  return (model) => whole.has(model) || beginnings.some((beginning) => model.startsWith(beginning));
}

function* subjectsOf({ orgId, projectId, userId, keyId }: Owners): Generator<string> {
  yield subjectKey(SubjectKind.INSTALLATION, "");
  if (orgId) yield subjectKey(SubjectKind.ORG, orgId);
  if (projectId) yield subjectKey(SubjectKind.PROJECT, projectId);
  if (userId) yield subjectKey(SubjectKind.USER, userId, orgId);
  if (keyId) yield subjectKey(SubjectKind.KEY, keyId);
}

// No id has a colon.
function subjectKey(kind: SubjectKind, id: string, orgId = ""): string {
  return `${kind}:${orgId}:${id}`;
}
