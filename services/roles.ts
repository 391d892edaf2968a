import type { RoleName } from "./runtime/config/settings.ts";
import type { Role } from "./runtime/role.ts";

/**
 * What a process can run, in the order in which it starts: who is asked before who asks. Modules are loaded only for
 * the roles that run.
 */
export const roles: readonly { readonly name: RoleName; readonly load: () => Promise<Role> }[] = [
  { name: "auth", load: async () => (await import("./auth/role.ts")).role },
  { name: "quota", load: async () => (await import("./quota/role.ts")).role },
  { name: "usage", load: async () => (await import("./usage/role.ts")).role },
  { name: "catalog", load: async () => (await import("./catalog/role.ts")).role },
  { name: "router", load: async () => (await import("./router/role.ts")).role },
  { name: "edge", load: async () => (await import("./edge/role.ts")).role },
];
