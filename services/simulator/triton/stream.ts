import { type ServerDuplexStream, type ServerUnaryCall, type sendUnaryData, status } from "@grpc/grpc-js";
import type { ModelInferRequest } from "../../../gen/ts/engine/triton/grpc_service_pb.ts";
import type { Refusal } from "../grpc/server.ts";
import type { Models } from "./inference.ts";
import type { Inference, InferResponse, StreamResponse } from "./reply.ts";

/** What a call can do to its connection and its process. */
export interface Surroundings {
  readonly models: Models;
  /** Resets the connection of this peer. */
  readonly cut: (peer: string) => void;
  readonly crash: () => void;
}

/** An engine does not wait for a slow reader. One that leaves this many responses behind has gone, or never reads. */
const pendingResponsesMax = 65_536;

/**
 * ModelStreamInfer: any number of requests, whose responses mingle. The call ends when the caller has half-closed it and
 * no request is open. An error is a message, or the status of the call if its metadata has `triton_grpc_error`.
 */
export function streamInfer(
  { models, cut, crash }: Surroundings,
  call: ServerDuplexStream<ModelInferRequest, StreamResponse>,
): void {
  const open = new Set<{ inference?: Inference }>();
  let halfClosed = false;
  let gone = false;
  const wantsStatus = String(call.metadata.get("triton_grpc_error")[0] ?? "") === "true";

  const send = (message: StreamResponse) => {
    if (gone) return;
    call.write(message);
    if (call.writableLength > pendingResponsesMax) cut(call.getPeer());
  };
  const endIfDone = () => {
    if (gone || !halfClosed || open.size > 0) return;
    gone = true;
    call.end();
  };
  const left = () => {
    gone = true;
    for (const { inference } of open) inference?.callerLeft();
    open.clear();
  };

  const begin = (request: ModelInferRequest) => {
    const entry: { inference?: Inference } = {};
    open.add(entry);
    const over = () => {
      if (open.delete(entry)) endIfDone();
    };
    const begun = models.infer(request, {
      streams: true,
      send,
      fail(message, refusal) {
        if (!wantsStatus) return send(message);
        if (gone) return;
        call.emit("error", { code: refusal.code, details: refusal.text });
        left();
      },
      over,
      cut: () => cut(call.getPeer()),
      crash,
    });
    if ("text" in begun) {
      // Refused before it had a model: in a message whatever the caller asked for, and only with the id filled.
      send({ errorMessage: begun.text, inferResponse: { id: request.id } });
      over();
    } else entry.inference = begun;
  };

  call.on("data", begin);
  call.on("end", () => {
    halfClosed = true;
    endIfDone();
  });
  call.on("cancelled", left);
}

/** ModelInfer: one request and one response, for models that answer so. */
export function infer(
  { models, cut, crash }: Surroundings,
  call: ServerUnaryCall<ModelInferRequest, InferResponse>,
  reply: sendUnaryData<InferResponse>,
): void {
  const refuse = ({ code, text }: Refusal) => reply({ code, details: text });
  const model = models.byName.get(call.request.modelName);
  if (model?.decoupled) {
    const text = "ModelInfer RPC doesn't support models with decoupled transaction policy";
    return refuse({ code: status.UNIMPLEMENTED, text });
  }
  let response: InferResponse | undefined;
  let failure: Refusal | undefined;
  const begun = models.infer(call.request, {
    streams: false,
    send(message) {
      response ??= message.inferResponse;
    },
    fail(_message, refusal) {
      failure = refusal;
    },
    over() {
      if (failure) refuse(failure);
      else if (response) reply(null, response);
      else refuse({ code: status.INTERNAL, text: "the model ended without a response" });
    },
    cut: () => cut(call.getPeer()),
    crash,
  });
  if ("text" in begun) return refuse(begun);
  call.on("cancelled", () => begun.callerLeft());
}
