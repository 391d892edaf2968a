import type { Role } from "../../services/runtime/role.ts";
import { ProbeService } from "./gen/acceptance/v1/probe_service_pb.ts";
import { createProbe, ProbeLog } from "./probe.ts";

/** What the probe of the process saw and did. */
export const probeLog = new ProbeLog();

/** The probe as an extension. It has methods without a policy, and handlers that break. */
export const role: Role = {
  name: "probe",
  async start({ services }) {
    services.add(ProbeService, createProbe(probeLog));
    return { async [Symbol.asyncDispose]() {} };
  },
};
