import { countTokens, textOfIds } from "../text.ts";
import { type Lie, lieFrom } from "../fault.ts";
import { dimensionsDefault, dimensionsMax, relevanceOf, vectorOf } from "../vectors.ts";
import { promptFromMessages } from "./prompt.ts";
import type { Manners } from "./manners.ts";
import { bad, isMembers, type Members, type Refusal } from "./rules.ts";

/** A request with one answer, as the simulated server understands it. */
export interface UnaryAsked {
  readonly model: string;
  /** All its text: what the engine reads. */
  readonly prompt: string;
  /** The body of the answer. */
  answer(): object;
}

/** How a request is read, by its path. */
const readers: Readonly<Record<string, (body: Members, contextLength: number) => UnaryAsked | Refusal>> = {
  "/v1/embeddings": embeddingFrom,
  "/v1/rerank": rankingFrom,
  "/rerank": rankingFrom,
  "/tokenize": countFrom,
};

/** Reads a body that the gateway sent; what the server would refuse is refused. */
export function unaryFrom(
  path: string,
  body: unknown,
  models: readonly string[],
  contextLength: number,
  { tellsModels }: Manners,
): UnaryAsked | Refusal {
  if (!isMembers(body)) return bad("the body must be a JSON object");
  const model = body["model"];
  if (typeof model !== "string" || (tellsModels && !models.includes(model)))
    return { status: 404, type: "NotFoundError", message: `The model \`${String(model)}\` does not exist.` };
  return readers[path]?.(body, contextLength) ?? bad("no such path");
}

function embeddingFrom(body: Members, contextLength: number): UnaryAsked | Refusal {
  const inputs = inputsFrom(body["input"]);
  if (inputs === undefined) return bad("input must be texts or token ids");
  const asked = body["dimensions"];
  if (asked === null) return bad("dimensions must be an int");
  const dimensions = asked ?? dimensionsDefault;
  if (typeof dimensions !== "number" || !Number.isInteger(dimensions) || dimensions < 1 || dimensions > dimensionsMax)
    return bad(`dimensions must be from 1 to ${dimensionsMax}, got ${JSON.stringify(asked)}.`);
  const format = body["encoding_format"] ?? "float";
  if (format !== "float" && format !== "base64") return bad(`encoding_format must be float or base64`);
  const long = tooLong(inputs, contextLength);
  if (long) return long;
  const prompt = inputs.join("\n");
  const lie = lieFrom(prompt);
  return {
    model: String(body["model"]),
    prompt,
    answer() {
      const vectors = inputs.map((text) => vectorOf(text, lie === "wrong_dims" ? dimensions + 1 : dimensions));
      if (lie === "nan" && vectors[0]) vectors[0][0] = Number.NaN;
      const data = vectors.map((vector, index) => ({
        object: "embedding",
        index,
        embedding: format === "float" ? vector : Buffer.from(Float32Array.from(vector).buffer).toString("base64"),
      }));
      return {
        id: "embd-sim",
        object: "list",
        model: body["model"],
        data: truthOf(data, lie),
        usage: usageOf(sumOf(inputs)),
      };
    },
  };
}

function rankingFrom(body: Members, contextLength: number): UnaryAsked | Refusal {
  const { query, documents } = body;
  if (typeof query !== "string") return bad("query must be a text");
  if (!isTexts(documents) || documents.length === 0) return bad("documents must be texts");
  const pairs = documents.map((document) => `${query}\n${document}`);
  const long = tooLong(pairs, contextLength);
  if (long) return long;
  const prompt = pairs.join("\n");
  const lie = lieFrom(prompt);
  return {
    model: String(body["model"]),
    prompt,
    answer() {
      const results = documents.map((document, index) => ({
        index,
        document: { text: document },
        relevance_score: lie === "nan" ? null : relevanceOf(query, document),
      }));
      results.sort((a, b) => Number(b.relevance_score) - Number(a.relevance_score));
      return {
        id: "rerank-sim",
        model: body["model"],
        results: truthOf(results, lie),
        usage: usageOf(sumOf(pairs)),
      };
    },
  };
}

function countFrom(body: Members, contextLength: number): UnaryAsked | Refusal {
  const { prompt, messages, tools } = body;
  const templated = typeof prompt === "string" ? prompt : promptFromMessages(messages);
  if (templated === undefined) return bad("give a prompt, or messages");
  const text = Array.isArray(tools) ? `${templated}${JSON.stringify(tools)}` : templated;
  return {
    model: String(body["model"]),
    prompt: text,
    answer() {
      const lies = lieFrom(text) !== undefined;
      const count = countTokens(text);
      const tokens = Array.from({ length: count }, (_, id) => id);
      return { count: lies ? -1 : count, max_model_len: contextLength, tokens, token_strs: null };
    },
  };
}

function inputsFrom(input: unknown): string[] | undefined {
  if (typeof input === "string") return [input];
  if (!Array.isArray(input) || input.length === 0) return undefined;
  if (isTexts(input)) return input;
  if (isIds(input)) return [textOfIds(input)];
  const lists = input.filter(isIds);
  return lists.length === input.length ? lists.map(textOfIds) : undefined;
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

function isIds(value: unknown): value is number[] {
  return Array.isArray(value) && value.length > 0 && value.every((each) => Number.isSafeInteger(each));
}

function tooLong(texts: readonly string[], contextLength: number): Refusal | undefined {
  const longest = Math.max(...texts.map(countTokens));
  if (longest <= contextLength) return undefined;
  return bad(
    `This model's maximum context length is ${contextLength} tokens. However, you requested ${longest} tokens in the input for embedding generation. Please reduce the length of the input.`,
  );
}

function sumOf(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + countTokens(text), 0);
}

function truthOf<T>(list: readonly T[], lie: Lie | undefined): readonly T[] {
  return lie === "miscount" ? list.slice(1) : list;
}

function usageOf(tokens: number): object {
  return { prompt_tokens: tokens, total_tokens: tokens, completion_tokens: 0, prompt_tokens_details: null };
}
