import { Pool } from "undici";

/** Whom to ask. */
export interface LoadTarget {
  readonly url: string;
  readonly key: string;
  readonly model: string;
  readonly stream: boolean;
}

/** What a load brought. Times are in milliseconds. */
export interface LoadResult {
  readonly requests: number;
  readonly failed: number;
  readonly elapsedMs: number;
  readonly latencies: readonly number[];
  /** Of streams. */
  readonly firstFrames: readonly number[];
  readonly gaps: readonly number[];
  readonly frames: number;
}

const marker = Buffer.from('"content":" river"');

/** Sends `total` requests, `concurrency` at a time, each over its own kept connection. */
export async function load(target: LoadTarget, concurrency: number, total: number): Promise<LoadResult> {
  const pool = new Pool(target.url, {
    connections: concurrency,
    pipelining: 1,
    bodyTimeout: 120_000,
    headersTimeout: 120_000,
  });
  const messages = [{ role: "user", content: "Tell me how a weir measures a river. ".repeat(6) }];
  const body = JSON.stringify({ model: target.model, messages, ...(target.stream ? { stream: true } : {}) });
  const latencies: number[] = [];
  const firstFrames: number[] = [];
  const gaps: number[] = [];
  let frames = 0;
  let failed = 0;
  let left = total;
  const one = (): Promise<void> =>
    new Promise((settle) => {
      const began = performance.now();
      let lastFrame = 0;
      let tail: Buffer = Buffer.alloc(0);
      pool.dispatch(
        {
          method: "POST",
          path: "/v1/chat/completions",
          headers: { authorization: `Bearer ${target.key}`, "content-type": "application/json" },
          body,
        },
        {
          onRequestStart() {},
          onResponseStart(_controller, status) {
            if (status !== 200) failed++;
          },
          onResponseData(_controller, data) {
            if (!target.stream) return;
            const nowMs = performance.now();
            const all = tail.length > 0 ? Buffer.concat([tail, data]) : data;
            let found = 0;
            let at = all.indexOf(marker);
            let end = 0;
            while (at >= 0) {
              found++;
              end = at + marker.length;
              at = all.indexOf(marker, end);
            }
            tail = all.subarray(Math.max(end, all.length - marker.length));
            if (found === 0) return;
            if (lastFrame === 0) firstFrames.push(nowMs - began);
            else gaps.push(nowMs - lastFrame);
            lastFrame = nowMs;
            frames += found;
          },
          onResponseEnd() {
            latencies.push(performance.now() - began);
            settle();
          },
          onResponseError() {
            failed++;
            settle();
          },
        },
      );
    });
  const worker = async () => {
    while (left-- > 0) await one();
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: concurrency }, worker));
  const elapsedMs = performance.now() - began;
  await pool.close();
  return { requests: total, failed, elapsedMs, latencies, firstFrames, gaps, frames };
}

/** The value below which a part of the values lies. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}
