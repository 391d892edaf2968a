import type { Usage } from "../../gen/ts/weir/router/v1/event_pb.ts";
import type { GenerateRequest, GenerateResponse } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { errorFromDetail, fail, type WeirError } from "../runtime/errors/fail.ts";
import type { Cancel, Sink } from "../runtime/mesh/push.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { isPlaceRefusal } from "./limit-headers.ts";

/** Prompts of one request that are generated at a time: one caller does not fill a queue. */
const runningMax = 16;

/** Starts one generation of several. */
export type StartOne = (request: GenerateRequest, index: number, sink: Sink<GenerateResponse>) => Cancel;

/**
 * Runs the generations of several prompts as if they were one: the choices of prompt i begin at i times the choices of
 * one, counts are summed, and the first failure is the failure of all. A prompt that finds no place, because a limit
 * allows fewer requests at once, takes that of the next one that ends.
 */
export function generateAll(
  requests: readonly GenerateRequest[],
  start: StartOne,
  sink: Sink<GenerateResponse>,
): Cancel {
  const [first] = requests;
  if (requests.length === 1 && first !== undefined) return start(first, 0, sink);
  const running = new Map<number, { cancel: Cancel | undefined; resume: (() => void) | undefined }>();
  /** Those that wait for a place, in their order. */
  const waiting: number[] = [];
  let next = 0;
  let started = false;
  let stoppedBy: WeirError | undefined;
  let total: Usage | undefined;

  const resume = (): void => {
    for (const one of running.values()) one.resume?.();
  };
  sink.resume = resume;

  function stop(reason: WeirError): void {
    if (stoppedBy !== undefined) return;
    stoppedBy = reason;
    for (const one of running.values()) one.cancel?.(reason);
    running.clear();
  }

  function failAll(error: WeirError): void {
    if (stoppedBy !== undefined) return;
    stop(error);
    sink.fail(error);
  }

  function failOne(error: WeirError, index: number): void {
    running.delete(index);
    // Where none of ours holds a place nobody knows when one comes free.
    if (running.size > 0 && isPlaceRefusal(error)) waiting.push(index);
    else failAll(error);
  }

  function pass(message: GenerateResponse, index: number): void {
    const { event } = message;
    switch (event.case) {
      case "started":
        if (!started) sink.event(message);
        started = true;
        break;
      case "delta":
      case "finished":
        event.value.choice += index * Math.max(requests[index]?.choices ?? 1, 1);
        sink.event(message);
        break;
      case "usage":
        total = total === undefined ? event.value : sumOf(total, event.value);
        break;
      case "failed":
        failAll(event.value.error ? errorFromDetail(event.value.error) : fail(ErrorReason.INTERNAL));
        break;
      case undefined:
        break;
    }
  }

  function startNext(): void {
    const index = waiting.shift() ?? next++;
    const request = requests[index];
    if (request === undefined) return;
    const one: { cancel: Cancel | undefined; resume: (() => void) | undefined } = {
      cancel: undefined,
      resume: undefined,
    };
    running.set(index, one);
    const part: Sink<GenerateResponse> = {
      get resume() {
        return one.resume;
      },
      set resume(go) {
        one.resume = go;
      },
      event(message) {
        if (stoppedBy === undefined) pass(message, index);
      },
      turn: () => sink.turn(),
      full: () => sink.full(),
      fail: (error) => failOne(error, index),
      end() {
        if (stoppedBy !== undefined) return;
        running.delete(index);
        if (waiting.length > 0 || next < requests.length) startNext();
        else if (running.size === 0) endAll();
      },
    };
    one.cancel = start(request, index, part);
    if (stoppedBy !== undefined) one.cancel(stoppedBy);
  }

  function endAll(): void {
    if (total !== undefined) {
      sink.event({ $typeName: "weir.router.v1.GenerateResponse", event: { case: "usage", value: total } });
    }
    sink.end();
  }

  while (next < Math.min(requests.length, runningMax) && waiting.length === 0 && stoppedBy === undefined) startNext();
  return stop;
}

function sumOf(a: Usage, b: Usage): Usage {
  return {
    ...a,
    promptTokens: a.promptTokens + b.promptTokens,
    completionTokens: a.completionTokens + b.completionTokens,
    cachedTokens: a.cachedTokens + b.cachedTokens,
    reasoningTokens: a.reasoningTokens + b.reasoningTokens,
  };
}
