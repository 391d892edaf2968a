import { DialectSchema, type Dialect, Feature, FeatureSchema } from "../gen/ts/weir/catalog/v1/replica_pb.ts";
import type { ProbeResult } from "./drivers/driver.ts";

/** More are counted, not shown. */
const modelsShown = 20;

/** Features that say what callers can ask for, in the order of the contract. */
const features = FeatureSchema.values.filter(({ number }) => number !== Number(Feature.UNSPECIFIED));

/** What a probe found of an engine, for a person. Lines end with a line feed. */
export function engineReport(url: string, dialect: Dialect, { engine, models, load }: ProbeResult): string {
  const lines = [
    url,
    `  protocol  ${DialectSchema.value[dialect]?.name.replace("DIALECT_", "").toLowerCase() ?? "unknown"}`,
    `  engine    ${engine || "it does not say"}`,
    `  load      ${known(load.running)} running, ${known(load.waiting)} waiting, KV cache ${percent(load.kvUsed)}`,
  ];
  if (models.length === 0) lines.push("  models    none that this driver can use");
  for (const model of models.slice(0, modelsShown)) {
    const context = Number(model.contextLength);
    lines.push(
      "",
      `  ${model.engineModel}${model.ready ? "" : "  (not ready: not loaded, paused or asleep)"}`,
      `    interface  ${model.flavour || "plain"}`,
      `    context    ${context > 0 ? `${context.toLocaleString("en-US")} tokens` : "unknown: set context_length of the model"}`,
      `    has        ${names(model.features, true)}`,
      `    lacks      ${names(model.features, false)}`,
      ...(model.needsTokenizer
        ? ["    needs      a tokenizer, to be offered: set `tokenizer` of the model, or start with --tokenizer"]
        : []),
    );
  }
  if (models.length > modelsShown) lines.push("", `  and ${models.length - modelsShown} more models`);
  return `${lines.join("\n")}\n`;
}

function names(has: readonly Feature[], wanted: boolean): string {
  const found = features.filter(({ number }) => has.some((one) => Number(one) === number) === wanted);
  if (found.length === 0) return "nothing";
  return found.map(({ name }) => name.replace("FEATURE_", "").toLowerCase().replaceAll("_", " ")).join(", ");
}

function known(count: number): string {
  return count < 0 ? "?" : String(count);
}

function percent(part: number): string {
  return part < 0 ? "?" : `${Math.round(part * 100)}%`;
}
