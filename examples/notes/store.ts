import { EventEmitter, once } from "node:events";
import { LRUCache } from "lru-cache";

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
  add(projectId: string, note: StoredNote): StoredNote;
  /** Those that sort after an id; empty: all. Oldest first. */
  after(projectId: string, id: string): readonly StoredNote[];
  /** Settles when the next note is added. Rejects when the signal aborts. */
  added(projectId: string, signal: AbortSignal): Promise<void>;
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
  const notesOf = (projectId: string) => projects.get(projectId) ?? [];
  return {
    add(projectId, note) {
      const notes = notesOf(projectId);
      const earlier = notes.find(({ requestId }) => requestId === note.requestId);
      if (earlier) return earlier;
      projects.set(projectId, [...notes, note].slice(-notesPerProjectMax));
      news.emit(projectId);
      return note;
    },
    after: (projectId, id) => notesOf(projectId).filter((note) => note.id > id),
    async added(projectId, signal) {
      await once(news, projectId, { signal });
    },
  };
}
