import type { GenerateResponse } from "../../../gen/ts/weir/router/v1/inference_service_pb.ts";
import type { Cancel, Sink } from "../../runtime/mesh/push.ts";
import { missingCapability, promptOf, unsupported } from "../capabilities.ts";
import type { Attempt, Target } from "../driver.ts";
import { type ChoiceCall, ChoiceCalls } from "../http/choice-calls.ts";
import type { Connection } from "../http/connection.ts";
import type { Reading } from "../http/exchange.ts";
import { requestWithBody } from "../http1/request.ts";
import { ChatReader } from "./chat-reader.ts";
import { buildChat, streamsChat } from "./chat-request.ts";
import { failureFromTgiResponse } from "./errors.ts";
import type { TgiInterface } from "./interface.ts";
import { GenerateReader } from "./reader.ts";
import { type BuiltBody, buildGenerate, seedOf, skipSpecialTokens } from "./request.ts";

/** How one of its ways to generate is used. */
interface Way {
  readonly path: string;
  readonly streams: boolean;
  readonly built: BuiltBody;
  /** The body for a choice. */
  readonly bodyOf: (body: Readonly<Record<string, unknown>>, seed: { readonly seed?: number }) => unknown;
  readonly readerOf: (call: ChoiceCall) => Pick<Reading, "read" | "done">;
}

/** Runs one attempt: a call for each choice. Throws a WeirError for one that is not sent. */
export function startGeneration(
  connection: Connection,
  target: Target,
  attempt: Attempt,
  sink: Sink<GenerateResponse>,
): Cancel {
  const model = JSON.parse(attempt.model.interfaceJson) as TgiInterface;
  const { path, streams, built, bodyOf, readerOf } = isChat(attempt) ? chat(attempt, model) : generate(attempt, model);
  if (built.kind === "unsupported") throw unsupported(attempt, built.param);

  const calls = new ChoiceCalls({ attempt, target, sink, streams, ignored: built.ignored });
  const head = connection.postRoot(path, streams ? "text/event-stream" : "application/json");
  calls.start(
    connection.http,
    (choice) => {
      const body = bodyOf(built.body, seedOf(attempt.request.sampling, choice));
      const id = choice === 0 ? attempt.id : `${attempt.id}-${choice}`;
      return requestWithBody(head, id, JSON.stringify(body));
    },
    (call) => {
      const reader = readerOf(call);
      return {
        answer: call,
        read: (json, responseHead, name) => reader.read(json, responseHead, name),
        done: () => reader.done?.(),
        refused: (responseHead, body) => failureFromTgiResponse(responseHead, body, target.clock.nowMs()),
      };
    },
  );
  return () => calls.answer.cancel();
}

/** A conversation goes to its own template, which puts the marks where they belong. */
function isChat({ request, prompt }: Attempt): boolean {
  return request.input.case === "conversation" && prompt === undefined;
}

function chat(attempt: Attempt, model: TgiInterface): Way {
  const missing = missingCapability(attempt);
  if (missing) throw missing;
  const stops = attempt.request.sampling?.stop ?? [];
  return {
    path: "/v1/chat/completions",
    streams: streamsChat(attempt, model),
    built: buildChat(attempt, model),
    bodyOf: (body, seed) => ({ ...body, ...seed }),
    readerOf: (call) => new ChatReader(call, stops, attempt.id),
  };
}

function generate(attempt: Attempt, model: TgiInterface): Way {
  const { request } = attempt;
  const readerOptions = {
    stops: request.sampling?.stop ?? [],
    logprobs: request.logprobs !== undefined,
    showsSpecial: attempt.extras[skipSpecialTokens] === false,
  };
  const prompt = promptOf(attempt);
  const streams = request.stream;
  return {
    path: streams ? "/generate_stream" : "/generate",
    streams,
    built: buildGenerate(attempt, prompt, model),
    bodyOf: ({ parameters, ...body }, seed) => ({ ...body, parameters: Object.assign({}, parameters, seed) }),
    readerOf: (call) => new GenerateReader(call, readerOptions),
  };
}
