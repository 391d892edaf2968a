import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { type Sight, type SightEnd, tokensIn } from "./truth.ts";
import type { Wish } from "./wishes.ts";

/** Who asks, and where. */
export interface Asker {
  readonly url: string;
  readonly keyId: string;
  readonly secret: string;
}

interface Body {
  readonly choices?: readonly { readonly text?: string }[];
  readonly usage?: { readonly prompt_tokens: number; readonly completion_tokens: number } | null;
  readonly error?: { readonly code?: string | null; readonly type?: string };
}

/** Longer than any answer takes while something is down: a client that waits so long has met a defect. */
const patienceMs = 30_000;

/** Asks over a connection of its own. It never throws: whatever becomes of it is what it saw. */
export function ask(asker: Asker, wish: Wish): Promise<Sight> {
  return new Promise((resolve) => new Client(asker, wish, resolve));
}

class Client {
  readonly #asker: Asker;
  readonly #wish: Wish;
  readonly #settle: (sight: Sight) => void;
  readonly #sentMs = Date.now();
  readonly #request: ClientRequest;
  readonly #timers: NodeJS.Timeout[] = [];
  #head: Pick<Sight, "headMs" | "requestId" | "status"> = {};
  #body = "";
  #text = "";
  #pieces = 0;
  #told: Sight["told"];
  #over = false;

  constructor(asker: Asker, wish: Wish, settle: (sight: Sight) => void) {
    this.#asker = asker;
    this.#wish = wish;
    this.#settle = settle;
    const { model, prompt, stream, tokens, timeoutMs, leave } = wish;
    const body = JSON.stringify({
      model,
      prompt,
      stream,
      ...(stream ? { stream_options: { include_usage: true } } : {}),
      max_tokens: tokens,
      min_tokens: tokens,
    });
    this.#request = request(`${asker.url}/v1/completions`, {
      method: "POST",
      agent: false,
      headers: {
        authorization: `Bearer ${asker.secret}`,
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        ...(timeoutMs === undefined ? {} : { "x-weir-timeout-ms": timeoutMs }),
      },
    });
    this.#request.on("error", (error) => this.#end("broken", String(error)));
    this.#request.on("response", (response) => this.#take(response));
    this.#request.end(body);
    this.#timers.push(setTimeout(() => this.#end("malformed", "patience"), patienceMs));
    if (leave) this.#timers.push(setTimeout(() => this.#leave(), leave.afterMs));
  }

  #take(response: IncomingMessage): void {
    const requestId = response.headers["x-request-id"];
    this.#head = {
      headMs: Date.now(),
      status: response.statusCode ?? 0,
      ...(typeof requestId === "string" ? { requestId } : {}),
    };
    const streamed = response.headers["content-type"]?.startsWith("text/event-stream") ?? false;
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => {
      this.#body += chunk;
      if (streamed) this.#takeEvents();
    });
    response.on("end", () => (streamed ? this.#end("malformed") : this.#takeWhole()));
    response.on("error", (error) => this.#end("broken", String(error)));
  }

  /** All lines that are whole so far. */
  #takeEvents(): void {
    const lines = this.#body.split("\n");
    this.#body = lines.pop() ?? "";
    for (const line of lines) {
      if (this.#over) return;
      if (line === "data: [DONE]") this.#end("whole");
      else if (line.startsWith("data: ")) this.#takeBody(JSON.parse(line.slice("data: ".length)) as Body);
    }
  }

  #takeWhole(): void {
    let body: Body;
    try {
      body = JSON.parse(this.#body) as Body;
    } catch {
      // The answer's own length says that it is whole, and it is no JSON.
      return this.#end("malformed");
    }
    this.#takeBody(body);
    if (!this.#over) this.#end(this.#head.status === 200 ? "whole" : "malformed");
  }

  #takeBody({ choices = [], usage, error }: Body): void {
    if (error) return this.#end("failed", error.code ?? error.type ?? "");
    if (usage) this.#told = { promptTokens: usage.prompt_tokens, completionTokens: usage.completion_tokens };
    const text = choices.map((choice) => choice.text ?? "").join("");
    if (text === "") return;
    this.#text += text;
    this.#pieces += 1;
    if (this.#wish.leave && this.#pieces >= this.#wish.leave.afterPieces) this.#leave();
  }

  #leave(): void {
    this.#end("left");
  }

  #end(end: SightEnd, code?: string): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) clearTimeout(timer);
    // A reset fails where the other side has closed meanwhile: that is no news any more.
    if (end === "left" && this.#wish.leave?.reset) this.#request.socket?.resetAndDestroy();
    this.#request.destroy();
    this.#settle({
      keyId: this.#asker.keyId,
      model: this.#wish.model,
      promptTokens: this.#wish.promptTokens,
      wantedTokens: this.#wish.tokens,
      sentMs: this.#sentMs,
      endedMs: Date.now(),
      ...this.#head,
      tokens: tokensIn(this.#text),
      ...(this.#told ? { told: this.#told } : {}),
      end,
      ...(code === undefined ? {} : { code }),
    });
  }
}
