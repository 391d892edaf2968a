import { systemIds } from "../../services/runtime/ids.ts";
import type { Role } from "../../services/runtime/role.ts";
import { NotesService } from "./gen/notes/v1/notes_pb.ts";
import { notesService } from "./service.ts";
import { createNoteStore } from "./store.ts";

/** Loaded by `extensions: [./examples/notes/role.ts]`. */
export const role: Role = {
  name: "notes",
  async start({ services, clock }) {
    services.add(NotesService, notesService({ store: createNoteStore(), clock, ids: systemIds }));
    // It holds nothing but memory.
    return { async [Symbol.asyncDispose]() {} };
  },
};
