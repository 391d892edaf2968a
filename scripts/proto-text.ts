import type { DescField, DescFile, DescMessage, DescOneof } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import { FieldDescriptorProto_Label } from "@bufbuild/protobuf/wkt";

/**
 * A descriptor as .proto source: names, numbers, types, oneofs, reserved and extension ranges. Options and comments are
 * left out, so a file that is only imported compiles as before, and nothing more is promised. Nested types are refused:
 * the one file that we print has none.
 */
export function protoTextFromFile(file: DescFile): string {
  const lines = ['syntax = "proto2";', `package ${file.proto.package};`];
  lines.push(...file.proto.dependency.map((path) => `import "${path}";`));
  for (const extension of file.extensions) {
    lines.push(`extend ${extension.extendee.typeName} {`, `  ${fieldLine(extension)}`, "}");
  }
  for (const declared of file.enums) {
    lines.push(`enum ${declared.name} {`);
    lines.push(...declared.proto.reservedRange.map((range) => `  reserved ${range.start} to ${range.end};`));
    lines.push(...declared.values.map((value) => `  ${value.name} = ${value.number};`), "}");
  }
  for (const message of file.messages) lines.push(...messageLines(message));
  return `${lines.join("\n")}\n`;
}

function messageLines(message: DescMessage): string[] {
  if (message.nestedMessages.length + message.nestedEnums.length > 0) {
    throw new Error(`${message.typeName} has nested types, which protoTextFromFile does not print`);
  }
  const lines = [`message ${message.name} {`];
  // A descriptor's end is exclusive, the language's is inclusive.
  for (const range of message.proto.extensionRange) lines.push(`  extensions ${range.start} to ${range.end - 1};`);
  for (const range of message.proto.reservedRange) lines.push(`  reserved ${range.start} to ${range.end - 1};`);
  for (const member of message.members) {
    lines.push(...(member.kind === "oneof" ? oneofLines(member) : [`  ${fieldLine(member)}`]));
  }
  lines.push("}");
  return lines;
}

function oneofLines(oneof: DescOneof): string[] {
  const fields = oneof.fields.map((field) => `    ${typeName(field)} ${field.name} = ${field.number};`);
  return [`  oneof ${oneof.name} {`, ...fields, "  }"];
}

type PrintedField = Pick<DescField, "proto" | "name" | "number"> & {
  readonly message?: { readonly typeName: string } | undefined;
  readonly enum?: { readonly typeName: string } | undefined;
  readonly scalar?: ScalarType | undefined;
};

function fieldLine(field: PrintedField): string {
  const repeated = field.proto.label === FieldDescriptorProto_Label.REPEATED;
  return `${repeated ? "repeated" : "optional"} ${typeName(field)} ${field.name} = ${field.number};`;
}

function typeName(field: PrintedField): string {
  const named = field.message ?? field.enum;
  if (named !== undefined) return `.${named.typeName}`;
  if (field.scalar === undefined) throw new Error(`${field.name} has no type`);
  return ScalarType[field.scalar].toLowerCase();
}
