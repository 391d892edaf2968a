import type { Answer } from "../answer.ts";
import type { Target } from "../driver.ts";
import type { Listener } from "../grpc/call.ts";
import type { Channel } from "../grpc/channel.ts";
import type { InferMessage } from "./codec.ts";
import { failureFromText, failureFromTritonStatus } from "./errors.ts";
import { stopBehindEnsemble } from "./stop-request.ts";

/** What makes events of responses. */
export interface ResponseReader {
  /**
   * Reads the tensors of a response.
   * @returns whether the engine goes on with a choice that has ended.
   */
  read(message: InferMessage): boolean;
  /** The engine says that this was all. A promise if it has still to be found out why: it never rejects. */
  ended(): Promise<void> | undefined;
}

/** What a generation needs beside the attempt. */
interface Surroundings {
  readonly channel: Channel;
  readonly target: Target;
  /** The model that ends a generation when it is told to under the same id; empty if none. */
  readonly stopModel: string;
}

/** Our own ids are shorter. */
const foreignIdLengthMax = 64;

/** Reads the responses of one id. */
export class TritonListener implements Listener<InferMessage> {
  readonly #around: Surroundings;
  readonly #id: string;
  readonly #answer: Answer;
  readonly #reader: ResponseReader;
  readonly failureFrom = failureFromTritonStatus;
  /** The generation is over, and why is being found out. */
  settling = false;
  #warned = false;

  constructor(around: Surroundings, id: string, answer: Answer, reader: ResponseReader) {
    this.#around = around;
    this.#id = id;
    this.#answer = answer;
    this.#reader = reader;
  }

  message(message: InferMessage): void {
    const answer = this.#answer;
    if (message.id !== "" && message.id !== this.#id) return this.#foreign(message.id);
    answer.touch();
    if (message.error !== "") return answer.fail(answer.error(failureFromText(message.error)), false);
    const wasted = this.#reader.read(message);
    if (!answer.open) return;
    if (message.final) {
      const judged = this.#reader.ended();
      if (judged === undefined) return answer.end();
      this.settling = true;
      void judged.then(() => answer.end());
    } else if (wasted && answer.complete) {
      answer.end(true);
    }
  }

  givenUp(): void {
    const { channel, stopModel, target } = this.#around;
    if (stopModel !== "" && !channel.closed) stopBehindEnsemble(channel, stopModel, this.#id, target.clock);
  }

  #foreign(id: string): void {
    if (this.#warned) return;
    this.#warned = true;
    // Whatever a server says goes into no log as it is: an id may be megabytes, and look like lines of ours.
    const quoted = JSON.stringify(id.slice(0, foreignIdLengthMax));
    process.emitWarning(`a response for ${quoted} came on the stream of ${this.#id}, and was dropped`, {
      code: "WEIR_TRITON_FOREIGN_RESPONSE",
    });
  }
}
