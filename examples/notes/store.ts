import { EventEmitter, once } from "node:events";
import { LRUCache } from "lru-cache";

/** Whose notes: a project, as its organisation sees it. Only the two together say it (docs/extending.md, "Tenants"). */
export interface Owner {
  readonly orgId: string;
  readonly projectId: string;
}

export interface StoredNote {
  /** A UUIDv7: notes sort by it. */
  readonly id: string;
  /** The caller's name of the create. */
  readonly requestId: string;
  readonly text: string;
  readonly createMs: number;
}

/** Notes in memory. The oldest note makes room in its project, and the project that is longest untouched for a new one. */
export interface NoteStore {
  /** Adds a note, unless the same request added one, which is returned. */
  add(owner: Owner, note: StoredNote): StoredNote;
  /** Those that sort after an id; empty: all. Oldest first. */
  after(owner: Owner, id: string): readonly StoredNote[];
  /** Settles when the next note is added. Rejects when the signal aborts. */
  added(owner: Owner, signal: AbortSignal): Promise<void>;
}

/** Together with the longest text of the contract: 40 MB at most. */
const notesPerProjectMax = 100;
const projectsMax = 100;

/** Builds an empty store. */
export function createNoteStore(): NoteStore {
  const projects = new LRUCache<string, readonly StoredNote[]>({ max: projectsMax });
  const news = new EventEmitter();
  // A listener is a running watch: the gateway's connections and streams bound them.
  news.setMaxListeners(0);
  const keyOf = ({ orgId, projectId }: Owner) => `${orgId}/${projectId}`;
  const notesOf = (owner: Owner) => projects.get(keyOf(owner)) ?? [];
  return {
    add(owner, note) {
      const notes = notesOf(owner);
      const earlier = notes.find(({ requestId }) => requestId === note.requestId);
      if (earlier) return earlier;
      projects.set(keyOf(owner), [...notes, note].slice(-notesPerProjectMax));
      news.emit(keyOf(owner));
      return note;
    },
    after: (owner, id) => notesOf(owner).filter((note) => note.id > id),
    async added(owner, signal) {
      await once(news, keyOf(owner), { signal });
    },
  };
}
