/**
 * Writes gen/ from proto/: `node scripts/generate.ts`, or `node scripts/generate.ts FOLDER` to write it into another
 * folder, which is how the check compares what is committed with what would be generated.
 *
 * No npm package carries buf/validate/validate.proto as text, so it is printed first, into the git-ignored third_party/,
 * from the descriptor of the package that enforces the rules.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { protoTextFromFile } from "./proto-text.ts";

const root = resolve(import.meta.dirname, "..");
const out = resolve(process.argv[2] ?? root);

const validateFolder = join(root, "third_party/buf/validate");
mkdirSync(validateFolder, { recursive: true });
writeFileSync(join(validateFolder, "validate.proto"), protoTextFromFile(file_buf_validate_validate));

for (const template of ["buf.gen.yaml", "buf.gen.go.yaml"]) {
  execFileSync("buf", ["generate", "--template", template, "--output", out], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, PATH: [join(root, "node_modules/.bin"), process.env["PATH"]].join(delimiter) },
  });
}
