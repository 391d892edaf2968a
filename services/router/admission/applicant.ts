import type { WeirError } from "../../runtime/errors/fail.ts";
import type { Wanted } from "../fleet/picker.ts";
import type { Seat } from "../fleet/seat.ts";

/** Who wants a place at a replica. */
export interface Applicant extends Wanted {
  readonly modelId: string;
  /** The model as the caller named it. */
  readonly modelName: string;
  /** A place came free and is taken. Who holds it gives it back with `Admission.leave`. */
  granted(seat: Seat): void;
  /** There was none in time. */
  refused(error: WeirError): void;
}
