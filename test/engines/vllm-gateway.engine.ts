import { describe } from "vitest";
import { requireEngines } from "./availability.ts";
import { describeBehindGateway, type Way } from "./behind-the-gateway.ts";
import { startVllm } from "./vllm/server.ts";

const gate = await requireEngines("vllm", "llamacpp");

const slots = 2;

const ways: readonly Way[] = [
  { id: "over-http", replica: ({ httpUrl }) => ({ url: httpUrl, dialect: "openai" }), needsTemplate: false },
  { id: "over-grpc", replica: ({ grpcUrl }) => ({ url: grpcUrl }), needsTemplate: true },
  {
    id: "over-both",
    replica: ({ grpcUrl, httpUrl }) => ({ url: grpcUrl, http_url: httpUrl }),
    needsTemplate: false,
  },
];

describe.skipIf(gate.skip)(gate.title("vLLM"), () => {
  const endless = { ignore_eos: true };
  describeBehindGateway("behind the gateway", {
    start: () => startVllm(slots),
    slots,
    engineModel: "weir-tiny",
    endless,
    ways,
  });
});
