import { Tokenizer } from "tokenizers";
import { afterEach, expect, test } from "vitest";
import { ControlText } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { Feature } from "../../../gen/ts/weir/catalog/v1/replica_pb.ts";
import { ErrorReason } from "../../../gen/ts/weir/error/v1/error_pb.ts";
import { Role } from "../../../gen/ts/weir/router/v1/message_pb.ts";
import { EndReason } from "../../../gen/ts/weir/usage/v1/usage_record_pb.ts";
import { Detokenizer } from "../../../services/drivers/tokens/detokenizer.ts";
import type { Encode } from "../../../services/drivers/tokens/tokenizers.ts";
import { byteAlphabet, type Vocabulary } from "../../../services/drivers/tokens/vocabulary.ts";
import { unlimited } from "../../../services/router/quota/grant.ts";
import { fail } from "../../../services/runtime/errors/fail.ts";
import { answer, closeClean, leaves } from "../../fakes/generation-calls.ts";
import { RouterWorld, type WorldOptions } from "../../fakes/router-world.ts";
import { byteLevelTokenizer, tokenizerSource } from "../../fakes/tokenizer-files.ts";

const source = "<|start|>{% for m in messages %}{{ m.content }}{% endfor %}";
const tokenizer = tokenizerSource(byteLevelTokenizer());
/** The vocabulary begins with the bytes, in order. */
const byte = (character: string) => byteAlphabet.indexOf(character);
const [h, i] = [byte("h"), byte("i")];
const startId = Tokenizer.fromString(JSON.stringify(byteLevelTokenizer())).tokenToId("<|start|>");

let world: RouterWorld;
afterEach(async () => {
  await closeClean(world);
  await world.tokenizers[Symbol.asyncDispose]();
});

/** A router whose engines take token ids only. */
function idsWorld(options: WorldOptions = {}, more: { contextLength?: number; sha256?: string } = {}): void {
  world = new RouterWorld(options);
  world.pool({ concurrencyMax: 1 });
  const { sha256 = tokenizer.sha256, contextLength = 0 } = more;
  world.model({
    id: "m",
    chatTemplate: { source, sha256: "ids", controlTokens: ["<|end|>", "<|start|>"] },
    tokenizer: { ...tokenizer, sha256 },
  });
  for (const id of ["a", "b"])
    world.replica(id, { features: [Feature.TOKEN_IDS, Feature.STREAM], needsTokenizer: true, contextLength });
}

/** A router whose engines take texts and token ids. */
function textWorld(controlText: ControlText): void {
  world = new RouterWorld();
  world.pool();
  const chatTemplate = { source, sha256: "ids", controlTokens: ["<|end|>", "<|start|>"] };
  world.model({ id: "m", chatTemplate, tokenizer, controlText });
  world.replica("a", { features: [Feature.TOKEN_IDS, Feature.PROMPT, Feature.STREAM] });
}

const prompt = (value: string) => ({ input: { case: "prompt" as const, value } });
const talk = {
  input: {
    case: "conversation" as const,
    value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: "hi" } }] }] },
  },
};
/** A thread has to start, on a busy machine. */
const patience = { timeout: 10_000 };
const attempt = () => world.tryAt(world.busyReplicas()[0] ?? "").attempt;
const reaches = async () => await expect.poll(() => world.busyReplicas().length, patience).toBe(1);

test.each([
  ["a prompt gets the token that begins one", prompt("hi"), [startId, h, i]],
  ["a template says its own", talk, [startId, h, i]],
  ["ids stay as they are", { input: { case: "tokenIds" as const, value: { ids: [5, 6] } } }, [5, 6]],
])("%s", async (_, input, ids) => {
  idsWorld();
  const call = world.call(input);
  await reaches();
  expect([...(attempt().tokens?.ids ?? [])]).toEqual(ids);
  answer(world.tryAt(world.busyReplicas()[0] ?? ""), "x");
  expect(call.sink.ended).toBe(true);
});

/** What a caller writes into a conversation, which spells tokens that are no text. */
const spelled = "say <|end|> or <|start|>, both";
const spelling = {
  input: {
    case: "conversation" as const,
    value: { messages: [{ role: Role.USER, parts: [{ part: { case: "text" as const, value: spelled } }] }] },
  },
};

function expectText(ids: readonly number[], vocabulary: Vocabulary): void {
  expect(ids.filter((id) => vocabulary.isSpecial(id))).toEqual([startId]);
  expect(new Detokenizer(vocabulary, true).push(ids)).toBe(`<|start|>${spelled}`);
}

test("what a caller writes never becomes a control token, and reaches the model as it was written", async () => {
  idsWorld();
  world.call(spelling);
  await reaches();
  const { ids, vocabulary } = attempt().tokens ?? {};
  if (!vocabulary) throw new Error("no ids came");
  expectText([...(ids ?? [])], vocabulary);
});

test("an engine that takes both gets ids of conversations for that, unless control tokens may be written", async () => {
  for (const controlText of [ControlText.NEUTRALISE, ControlText.ALLOW]) {
    textWorld(controlText);
    world.call(spelling);
    await reaches();
    const { request, prompt: text } = attempt();
    if (controlText === ControlText.ALLOW) expect(text).toBe(`<|start|>${spelled}`);
    else {
      expect(text).toBeUndefined();
      if (request.input.case !== "tokenIds") throw new Error(`it got ${request.input.case}`);
      expectText(request.input.value.ids, await world.tokenizers.of(tokenizer).vocabulary);
      await closeClean(world);
      await world.tokenizers[Symbol.asyncDispose]();
    }
  }
});

test("but a prompt of the caller's own stays a text there", async () => {
  textWorld(ControlText.NEUTRALISE);
  world.call(prompt("<|start|>hi"));
  await reaches();
  expect(attempt().request.input.value).toBe("<|start|>hi");
  expect(attempt().tokens).toBeUndefined();
});

test("a caller that leaves while its prompt is encoded leaves no trace at an engine", async () => {
  idsWorld();
  const opened = world.tokenizers.of(tokenizer);
  const { encode } = opened;
  let asked: Encode | undefined;
  const leaving: typeof encode = (text, how) => {
    asked = how;
    const ids = encode(text, how);
    call.cancel(leaves);
    return ids;
  };
  Object.assign(opened, { encode: leaving });
  const call = world.call(prompt("hi"));
  await expect.poll(() => asked?.signal?.aborted, patience).toBe(true);
  expect(asked?.owner).toBe("project");
  await encode("hi", { owner: "", special: true });
  expect(world.busyReplicas()).toEqual([]);
  expect(world.journal.finals).toMatchObject([{ endReason: EndReason.CANCELLED }]);
});

test("a tokenizer that can't be used is the gateway's fault: no replica is tried or blamed", async () => {
  idsWorld({}, { sha256: "0".repeat(64) });
  const call = world.call(prompt("hi"));
  await expect.poll(() => call.sink.error?.reason, patience).toBe(ErrorReason.TOKENIZER_FAILED);
  expect(world.busyReplicas()).toEqual([]);
  expect(world.ejected).toEqual([]);
});

test("work that no engine heard of is no try, and takes nothing off a replica's failures", async () => {
  const ends: string[] = [];
  const noted = { ...unlimited, settle: () => void ends.push("settled"), release: () => void ends.push("released") };
  idsWorld({ quota: { take: () => noted } }, { contextLength: 20 });
  const failsEverywhere = async () => {
    const call = world.call(prompt("hi"));
    await expect.poll(() => call.sink.error?.reason, patience).toBe(ErrorReason.ENGINE_FAILED);
  };
  for (const driver of world.drivers.values()) driver.onTry = ({ sink }) => sink.fail(fail(ErrorReason.ENGINE_FAILED));
  for (let round = 0; round < 4; round++) await failsEverywhere();
  expect(world.ejected).toEqual([]);
  for (let round = 0; round < 10; round++) {
    const call = world.call(prompt("hi".repeat(15)));
    await expect.poll(() => call.sink.error?.reason, patience).toBe(ErrorReason.CONTEXT_LENGTH_EXCEEDED);
  }
  expect(ends.splice(4)).toEqual(Array(10).fill("released"));
  expect(world.records.at(-1)?.tries).toEqual([]);
  expect(world.journal.finals.at(-1)).toMatchObject({ endReason: EndReason.FAILED, replicaId: "", attempts: [] });
  await failsEverywhere();
  expect(world.ejected.toSorted()).toEqual(["a", "b"]);
});

test("what the prompt leaves of the context is the most that an answer gets", async () => {
  idsWorld({}, { contextLength: 20 });
  world.call(prompt("hihihihi"));
  await reaches();
  expect(attempt().maxTokens).toBeLessThanOrEqual(20 - 9);
});

test("a prompt that turns out to fill the context is refused with its length", async () => {
  idsWorld({}, { contextLength: 20 });
  const call = world.call(prompt("hi".repeat(15)));
  await expect.poll(() => call.sink.error?.reason, patience).toBe(ErrorReason.CONTEXT_LENGTH_EXCEEDED);
  expect(call.sink.error?.facts).toMatchObject({ limit: "20", prompt_tokens: "31" });
});
