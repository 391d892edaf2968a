import { createServer } from "node:http";
import { Pool } from "undici";

// What any gateway on Node must cost: node:http in, undici's dispatch out, bytes passed on as they are.
// Each argument is an upstream that gets a port of its own.

function serve(upstreamUrl: string): Promise<number> {
  const upstream = new Pool(upstreamUrl, { connections: 1_024, pipelining: 1 });
  const server = createServer({ noDelay: true, keepAliveTimeout: 600_000 }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      let cut: ((reason: Error) => void) | undefined;
      upstream.dispatch(
        {
          method: "POST",
          path: request.url ?? "/",
          headers: { "content-type": "application/json", "content-length": String(body.length) },
          body,
        },
        {
          onRequestStart(controller) {
            cut = (reason) => controller.abort(reason);
          },
          onResponseStart(_controller, status, headers) {
            const type = headers["content-type"];
            response.writeHead(status, { "content-type": String(type) });
          },
          onResponseData(_controller, data) {
            response.write(data);
          },
          onResponseEnd() {
            response.end();
          },
          onResponseError() {
            response.destroy();
          },
        },
      );
      response.once("close", () => {
        if (!response.writableFinished) cut?.(new Error("the client left"));
      });
    });
  });
  return new Promise((settle) =>
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      settle(typeof address === "object" ? (address?.port ?? 0) : 0);
    }),
  );
}

const ports = await Promise.all(process.argv.slice(2).map(serve));
process.stdout.write(`${JSON.stringify({ ports })}\n`);
