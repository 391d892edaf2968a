import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import type { Clock } from "../../services/runtime/clock.ts";
import { fail } from "../../services/runtime/errors/fail.ts";
import type { IdSource } from "../../services/runtime/ids.ts";
import type { ServiceImplementation } from "../../services/runtime/mesh/registry.ts";
import type { NotesService } from "./gen/notes/v1/notes_pb.ts";
import type { NoteStore, StoredNote } from "./store.ts";

export interface NotesOptions {
  readonly store: NoteStore;
  readonly clock: Clock;
  readonly ids: IdSource;
}

/** Who may call, for which project, with what and for how long is in the contract: here is only what a note is. */
export function notesService({ store, clock, ids }: NotesOptions): ServiceImplementation<typeof NotesService> {
  return {
    createNote({ requestId, text }, { scope }) {
      const note = store.add(scope.id, { id: ids.uuidv7(), requestId, text, createMs: clock.nowMs() });
      if (note.text !== text) throw fail(ErrorReason.ALREADY_EXISTS, { request_id: requestId });
      return { note: noteFromStored(scope.id, note) };
    },

    async *watchNotes(_request, { scope, signal }) {
      const projectId = scope.id;
      let last = "";
      for (;;) {
        const notes = store.after(projectId, last);
        if (notes.length === 0) await store.added(projectId, signal);
        for (const note of notes) {
          last = note.id;
          yield { note: noteFromStored(projectId, note) };
        }
      }
    },
  };
}

function noteFromStored(projectId: string, { id, text, createMs }: StoredNote) {
  return { id, projectId, text, createTime: timestampFromMs(createMs) };
}
