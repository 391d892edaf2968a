import type { WeirProcess } from "./weir-process.ts";

/** RPCs that a process has answered so far, by method, as its metrics tell. */
export async function rpcCounts({ adminUrl }: Pick<WeirProcess, "adminUrl">): Promise<Map<string, number>> {
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  const counts = new Map<string, number>();
  for (const [, method = "", value] of text.matchAll(/^weir_rpc_total\{method="([^"]+)"[^}]*\} (\d+)$/gm)) {
    counts.set(method, (counts.get(method) ?? 0) + Number(value));
  }
  if (counts.size === 0) throw new Error("no RPC is counted");
  return counts;
}
