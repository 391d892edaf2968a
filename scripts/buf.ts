import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { createFileRegistry, type FileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { file_buf_validate_validate } from "@bufbuild/protovalidate/gen/buf/validate/validate_pb.js";
import { protoTextFromFile } from "./proto-text.ts";

/** The repository. */
export const root = resolve(import.meta.dirname, "..");

// A descriptor set of everything is 300 kB; this leaves room to grow and still ends.
const imageBytesMax = 64 * 1024 * 1024;

/** Runs buf in a folder and returns what it printed; what it says about a failure goes to standard error. */
export function buf(folder: string, ...args: string[]): Buffer {
  const path = [join(root, "node_modules/.bin"), process.env["PATH"]].join(delimiter);
  return execFileSync("buf", args, {
    cwd: folder,
    env: { ...process.env, PATH: path },
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: imageBytesMax,
  });
}

/**
 * Writes third_party/buf/validate/validate.proto below a folder. No npm package carries it as text, so it is printed
 * from the descriptor of the package that enforces the rules.
 */
export function writeValidateProto(folder: string): void {
  const target = join(folder, "third_party/buf/validate");
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, "validate.proto"), protoTextFromFile(file_buf_validate_validate));
}

/** The descriptors of a workspace, with the source that imports come from. */
export function buildDescriptors(workspace: string): FileRegistry {
  writeValidateProto(workspace);
  const image = buf(workspace, "build", "--as-file-descriptor-set", "-o", "-#format=binpb");
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
}
