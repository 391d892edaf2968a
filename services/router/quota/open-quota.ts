import { create } from "@bufbuild/protobuf";
import type { Logger } from "pino";
import { QuotaService, WatchLeasesRequestSchema } from "../../../gen/ts/weir/quota/v1/quota_service_pb.ts";
import { reasonName } from "../../runtime/errors/reason-name.ts";
import { systemIds } from "../../runtime/ids.ts";
import { callContext } from "../../runtime/mesh/caller-context.ts";
import type { Runtime } from "../../runtime/role.ts";
import type { OpenedUsage } from "../usage/open-usage.ts";
import { leaseNoteKind, type NoteJournal } from "./lease-notes.ts";
import { noQuota, type Quota, QuotaHolder } from "./quota.ts";

/**
 * Holds this node's leases. Without a quota service in reach nothing is limited. What is spent is noted in the journal
 * only where the service outlives this process.
 *
 * @param started what is closed when the role stops.
 */
export function openQuota(
  runtime: Runtime,
  { journal, notes, formerRequests }: Pick<OpenedUsage, "journal" | "notes" | "formerRequests">,
  log: Logger,
  started: AsyncDisposableStack,
): Quota {
  const { clock, mesh, nodeId, services, settings } = runtime;
  const here = services.services().some(({ service }) => service.typeName === QuotaService.typeName);
  if (!here && settings.mesh.peers["quota"] === undefined) return noQuota;
  // A process that takes over from one that died knows nothing of its leases, and must not be lent them as its own.
  const holderId = `${nodeId}.${systemIds.short(10)}`;
  const { watchLeases } = QuotaService.method;
  let repeat = (): void => undefined;
  const noted = journal.notes(leaseNoteKind, () => repeat());
  const own: NoteJournal = { wait: (waiter) => journal.wait(waiter), note: noted.add, over: noted.over };
  const holder = started.use(
    new QuotaHolder({
      client: mesh.client(QuotaService),
      watch: (sink) =>
        mesh.push(watchLeases)(
          create(WatchLeasesRequestSchema, { nodeId: holderId }),
          callContext(watchLeases, { trusted: true }),
          sink,
        ),
      clock,
      ids: systemIds,
      holderId,
      journal: here ? undefined : own,
      notes: notes.get(leaseNoteKind) ?? [],
      formerRequests: here ? [] : formerRequests,
      news: {
        away: ({ reason }) =>
          log.warn({ reason: reasonName(reason) }, "limits can't be checked: each goes by its on_failure"),
        back: () => log.info("limits are checked again"),
        lost: (request_id, err) => log.error({ request_id, err }, "what a request used is not told to its limits"),
      },
    }),
  );
  runtime.metrics.grants(() => ({ ...holder.counts }));
  repeat = () => holder.repeatNotes();
  return holder;
}
