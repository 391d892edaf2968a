/** Checks the rules of the house that text can tell: `node scripts/check-tidy.ts`. Exits 1 if one is broken. */
import { resolve } from "node:path";
import { readTree } from "./source-files.ts";
import { tidyProblems, tidyRules } from "./tidy-rules.ts";

const { files, emptyFolders } = readTree(resolve(import.meta.dirname, ".."));
const problems = tidyProblems(files, emptyFolders);
for (const problem of problems) console.error(problem);
if (problems.length > 0) process.exitCode = 1;
else console.log(`${tidyRules.length} rules hold in ${files.length} files`);
