import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { createClient } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { InferenceService } from "../../gen/ts/weir/router/v1/inference_service_pb.ts";
import { systemClock } from "../../services/runtime/clock.ts";
import { createPeerTransport } from "../../services/runtime/mesh/peer.ts";
import { meshToken } from "./harness.ts";

test("as many embeddings as one request may have, of 4,096 dimensions, pass between processes", async () => {
  const values = new Uint8Array(4 * 4_096);
  const embed = () => ({ embeddings: Array.from({ length: 2_048 }, () => ({ values, tokens: 1n })) });
  const server = createServer(
    connectNodeAdapter({ routes: (router) => void router.service(InferenceService, { embed }) }),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const peer = createPeerTransport({ baseUrl: `http://127.0.0.1:${port}`, token: meshToken, clock: systemClock });
  try {
    const { embeddings } = await createClient(InferenceService, peer).embed({ model: "vectors" });
    expect(embeddings).toHaveLength(2_048);
  } finally {
    peer[Symbol.dispose]();
    await new Promise((resolve) => server.close(resolve));
  }
});
