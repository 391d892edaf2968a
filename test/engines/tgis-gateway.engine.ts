import { describe } from "vitest";
import { requireEngines } from "./availability.ts";
import { describeBehindGateway, type Way } from "./behind-the-gateway.ts";
import { startTgis } from "./tgis/server.ts";

const gate = await requireEngines("tgis", "llamacpp");

const slots = 2;

const ways: readonly Way[] = [{ id: "over-tgis", replica: ({ grpcUrl }) => ({ url: grpcUrl }), needsTemplate: true }];

describe.skipIf(gate.skip)(gate.title("TGIS"), () => {
  const endless = { min_tokens: 4_000 };
  describeBehindGateway("behind the gateway", {
    start: () => startTgis(slots),
    slots,
    engineModel: "tgis",
    endless,
    ways,
  });
});
