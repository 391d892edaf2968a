import { expect, test } from "vitest";
import { framed, MessageFrames } from "../../services/drivers/grpc/message-frames.ts";
import { heldAfter } from "../fakes/held-memory.ts";
import { StatusError } from "../../services/drivers/grpc/status-error.ts";

const messages = ["", "a", "a river", "x".repeat(300)];
const whole = Buffer.concat(messages.map((message) => framed(Buffer.from(message))));

function read(pieces: readonly Buffer[], bytesMax = 300): string[] {
  const frames = new MessageFrames(bytesMax);
  const found: string[] = [];
  for (const piece of pieces) frames.push(piece, (message) => found.push(message.toString()));
  return found;
}

test("messages come whole, wherever their bytes are cut", () => {
  for (let first = 0; first <= whole.length; first += 1) {
    const second = first + Math.floor((whole.length - first) / 2);
    const pieces = [whole.subarray(0, first), whole.subarray(first, second), whole.subarray(second)];
    expect(read(pieces), `cut at ${first} and ${second}`).toEqual(messages);
  }
  expect(read(Array.from(whole, (byte) => Buffer.of(byte)))).toEqual(messages);
});

test("a message of small pieces costs little more than its bytes", () => {
  const frames = new MessageFrames(33_554_432);
  let told = 0;
  const take = ({ length }: Buffer) => (told += length);
  const count = 500_000;
  frames.push(framed(Buffer.alloc(count + 1)).subarray(0, 6), take);
  expect(heldAfter(() => frames.push(Buffer.of(0), take), count - 1)).toBeLessThan(count * 8);
  frames.push(Buffer.concat([Buffer.of(0), whole]), take);
  expect(told).toBe(count + 1 + messages.join("").length);
});

test.each([
  ["a message that is longer than allowed", whole, 299, "larger than max"],
  ["a message that says it is packed", Buffer.of(1, 0, 0, 0, 0), 300, "compressed"],
])("%s is refused", (_, bytes, bytesMax, text) => {
  expect(() => read([bytes], bytesMax)).toThrow(StatusError);
  expect(() => read([bytes], bytesMax)).toThrow(text);
});
