/**
 * Checks what buf's lint can't: `node scripts/check-contracts.ts [WORKSPACE]`, by default this repository. Prints what is
 * wrong and exits 1, or prints how much it looked at.
 */
import { resolve } from "node:path";
import { buildDescriptors, root } from "./buf.ts";
import { contractProblems, isForeign } from "./contract-rules.ts";

const registry = buildDescriptors(resolve(process.argv[2] ?? root));
const problems = contractProblems(registry);
for (const problem of problems) console.error(problem);
if (problems.length > 0) {
  console.error(`${problems.length} problems in the contracts`);
  process.exitCode = 1;
} else {
  const services = [...registry].filter((desc) => desc.kind === "service" && !isForeign(desc.file));
  console.log(
    `contracts: ${services.length} services of ours and our examples, every method and inbound field in order`,
  );
}
