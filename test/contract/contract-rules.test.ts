import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { buildDescriptors, root } from "../../scripts/buf.ts";
import { contractProblems } from "../../scripts/contract-rules.ts";

const policy = (lines: string) => `option (weir.policy.v1.method) = {${lines}};`;
const mesh = policy(
  "audience: AUDIENCE_MESH scope: {kind: SCOPE_KIND_NONE} idempotency: IDEMPOTENCY_NONE deadline: {seconds: 1}",
);
const ofProject = (field: string, permission = "x.read") =>
  policy(
    `audience: AUDIENCE_PUBLIC permission: "${permission}" scope: {kind: SCOPE_KIND_PROJECT field: "${field}"} ` +
      "idempotency: IDEMPOTENCY_NONE deadline: {seconds: 1}",
  );

/** What is wrong, the options of its method, the fields of its request, the method's name, and what is said of it. */
const wrong: readonly (readonly [string, string, string, string, string])[] = [
  [
    "a scope field that is not there",
    ofProject("owner"),
    "",
    "Do",
    "Do: its scope names owner, which DoRequest does not",
  ],
  [
    "a scope field that is no string",
    ofProject("owner"),
    "bool owner = 1;",
    "Do",
    "Do: its scope names owner, which is not a string",
  ],
  ["a public method for all", ofProject("", ""), "", "Do", "Do: has no permission"],
  [
    "a reading method that may not be repeated",
    `${mesh} option idempotency_level = NO_SIDE_EFFECTS;`,
    "",
    "Do",
    "Do: IDEMPOTENCY_READ and",
  ],
  ["a list without pages", mesh, "", "ListThings", "ListThings: ListThingsRequest has no page_size"],
  ["a create that can't be repeated", mesh, "", "CreateThing", "CreateThing: CreateThingRequest has no request_id"],
  ["a lease that can't be repeated", mesh, "", "LeaseThing", "LeaseThing: LeaseThingRequest has no request_id"],
  ["an update of everything", mesh, "", "UpdateThing", "UpdateThing: UpdateThingRequest has no update_mask"],
  ["a number without a rule", mesh, "int32 n = 1;", "Do", "DoRequest.n: no validation rule"],
  ["a text without a rule", mesh, "string s = 1;", "Do", "DoRequest.s: no validation rule"],
  [
    "a text without an end",
    mesh,
    'string s = 1 [(buf.validate.field).string.pattern = "^[a-z]+$"];',
    "Do",
    "DoRequest.s: no max_len, max_bytes, or pattern with an end",
  ],
  ["bytes without a rule", mesh, "bytes b = 1;", "Do", "DoRequest.b: no validation rule"],
  ["an enum without a rule", mesh, "Kind k = 1;", "Do", "DoRequest.k: an enum without a rule"],
  ["a list without an end", mesh, "repeated bool l = 1;", "Do", "DoRequest.l: a list without max_items"],
  [
    "a list whose items have no rule",
    mesh,
    "repeated string l = 1 [(buf.validate.field).repeated.max_items = 2];",
    "Do",
    "DoRequest.l: its items: no validation rule",
  ],
  ["a map without an end", mesh, "map<string, bool> m = 1;", "Do", "DoRequest.m: a map without max_pairs"],
  [
    "a field deep within",
    mesh,
    "repeated Inner l = 1 [(buf.validate.field).repeated.max_items = 2];",
    "Do",
    "Inner.text: no validation rule",
  ],
  ["anything at all", mesh, "google.protobuf.Struct s = 1;", "Do", "DoRequest.s: google.protobuf.Struct has no bound"],
];

const right = `
  bool b = 1;
  Bounded m = 2;
  google.protobuf.Timestamp t = 3;
  int64 seed = 4 [(buf.validate.field).int64 = {}];
  string s = 5 [(buf.validate.field).string.pattern = "^[a-z+*]{1,8}\\\\+?$"];
  string id = 6 [(buf.validate.field).string.uuid = true];`;

// One build for all samples, each in a package of its own.
const problems = problemsOf([
  ...wrong.map(([, option, fields, method]) => sample(option, fields, method)),
  sample(mesh, right, "Do"),
]);

test.each(wrong.map(([name, , , , problem], index) => [name, index, problem] as const))(
  "%s is refused",
  (_name, index, problem) => {
    expect(problems(index)).toEqual(expect.arrayContaining([expect.stringContaining(problem)]));
  },
);

test("fields that need no rule pass", () => {
  expect(problems(wrong.length)).toEqual([]);
});

function problemsOf(samples: readonly string[]): (index: number) => string[] {
  const workspace = mkdtempSync(join(tmpdir(), "weir-contracts-"));
  try {
    cpSync(join(root, "buf.yaml"), join(workspace, "buf.yaml"));
    // Every module that buf.yaml names must hold something.
    cpSync(join(root, "examples/notes/proto"), join(workspace, "examples/notes/proto"), { recursive: true });
    cpSync(join(root, "proto/weir/policy"), join(workspace, "proto/weir/policy"), { recursive: true });
    for (const [index, text] of samples.entries()) {
      const folder = join(workspace, `proto/weir/sample${index}/v1`);
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, "sample.proto"), text.replace("PACKAGE", `weir.sample${index}.v1`));
    }
    const all = contractProblems(buildDescriptors(workspace));
    return (index) => all.filter((problem) => problem.startsWith(`weir.sample${index}.v1.`));
  } finally {
    rmSync(workspace, { recursive: true });
  }
}

function sample(option: string, fields: string, method: string): string {
  return `syntax = "proto3";
    package PACKAGE;
    import "buf/validate/validate.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "weir/policy/v1/policy.proto";
    service SampleService { rpc ${method}(${method}Request) returns (${method}Response) { ${option} } }
    message ${method}Request { ${fields} }
    message ${method}Response { string next_page_token = 1; string ours_needs_no_rule = 2; }
    message Inner { string text = 1; }
    message Bounded { bool flag = 1; google.protobuf.Timestamp at = 2; }
    enum Kind { KIND_UNSPECIFIED = 0; }`;
}
