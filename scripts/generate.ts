/**
 * Writes gen/ from proto/, and the code of the contracts that lie beside what uses them: `node scripts/generate.ts`, or
 * `node scripts/generate.ts FOLDER` to write it into another folder, which is how the check compares what is committed
 * with what would be generated.
 */
import { join, resolve } from "node:path";
import { buf, root, writeValidateProto } from "./buf.ts";
import { generateExtension } from "./generate-extension.ts";

const out = resolve(process.argv[2] ?? root);

writeValidateProto(root);
for (const template of ["buf.gen.yaml", "buf.gen.go.yaml"]) {
  buf(root, "generate", "--template", template, "--output", out);
}
generateExtension(join(root, "examples/notes"), { out: join(out, "examples/notes") });
// What the transports are judged by: it declares methods without a policy, so that their refusal can be seen.
generateExtension(join(root, "test/rpc"), { out: join(out, "test/rpc"), unchecked: true });
