/**
 * Writes gen/ from proto/: `node scripts/generate.ts`, or `node scripts/generate.ts FOLDER` to write it into another
 * folder, which is how the check compares what is committed with what would be generated.
 */
import { resolve } from "node:path";
import { buf, root, writeValidateProto } from "./buf.ts";
import { generateAcceptance } from "./generate-acceptance.ts";

const out = resolve(process.argv[2] ?? root);

writeValidateProto(root);
for (const template of ["buf.gen.yaml", "buf.gen.go.yaml"]) {
  buf(root, "generate", "--template", template, "--output", out);
}
generateAcceptance(out);
