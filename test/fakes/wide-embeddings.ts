import { once } from "node:events";
import { Worker } from "node:worker_threads";

/** A server of long vectors on a thread of its own: what it does is not its client's. */
export interface WideEmbeddings extends AsyncDisposable {
  /** Below it are /base64 and /numbers, each with OpenAI's paths. */
  readonly url: string;
}

export async function startWideEmbeddings(): Promise<WideEmbeddings> {
  const worker = new Worker(new URL("./wide-embedding-worker.ts", import.meta.url));
  const [port] = (await once(worker, "message")) as [number];
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      await worker.terminate();
    },
  };
}
