import { beforeEach, expect, test } from "vitest";
import { Encodings } from "../../services/drivers/tokens/encodings.ts";

/** The texts that the thread was given, in order. */
let given: { number: number; text: string }[] = [];
let encodings: Encodings;
beforeEach(() => {
  given = [];
  encodings = new Encodings(({ number, text }) => void given.push({ number, text: text[0] + text.slice(-1) }));
});

const long = (name: string) => name[0] + "x".repeat(70_000) + name.slice(-1);

function ask(text: string, owner: string, signal?: AbortSignal): Promise<Uint32Array> {
  const ids = encodings.encode({ key: "k", text, special: false, seam: undefined }, "sha", owner, signal);
  ids.catch(() => undefined);
  return ids;
}

const names = () => given.map(({ text }) => text);

/** The thread is done with the newest that it was given. */
function finish(): void {
  encodings.encoded(given.at(-1)?.number ?? 0, Uint32Array.of(given.length));
}

test("long texts are given to the thread one at a time, their owners in turn, and short ones at once", async () => {
  for (const name of ["a1", "a2", "a3"]) void ask(long(name), "a");
  const other = ask(long("b1"), "b");
  const short = ask("s0", "a");
  expect(names()).toEqual(["a1", "s0"]);
  finish();
  expect([...(await short)]).toEqual([2]);
  encodings.encoded(given[0]?.number ?? 0, Uint32Array.of(1));
  expect(names().at(-1)).toBe("a2");
  finish();
  expect(names().at(-1)).toBe("b1");
  finish();
  expect([...(await other)]).toEqual([4]);
  expect(names().at(-1)).toBe("a3");
});

test("a long text that nobody waits for is not encoded, and one that another waits for is", async () => {
  const callers = Array.from({ length: 3 }, () => new AbortController());
  const [alone, first, second] = callers;
  const running = ask(long("r0"), "a");
  const dropped = ask(long("d0"), "a", alone?.signal);
  const shared = [ask(long("s0"), "a", first?.signal), ask(long("s0"), "b", second?.signal)];
  alone?.abort(new Error("left"));
  first?.abort(new Error("left too"));
  await expect(dropped).rejects.toThrow("left");
  await expect(shared[0]).rejects.toThrow("left too");
  finish();
  expect([...(await running)]).toEqual([1]);
  expect(names()).toEqual(["r0", "s0"]);
  finish();
  expect([...((await shared[1]) ?? [])]).toEqual([2]);
  // Whoever asks for it later is a caller like any other.
  void ask(long("d0"), "a");
  expect(names().at(-1)).toBe("d0");
});

test("what the thread has when its caller leaves is kept for the next", async () => {
  const caller = new AbortController();
  const left = ask(long("a1"), "a", caller.signal);
  caller.abort(new Error("left"));
  await expect(left).rejects.toThrow("left");
  finish();
  expect([...(await ask(long("a1"), "a"))]).toEqual([1]);
  expect(given).toHaveLength(1);
  await expect(async () => await ask("x", "a", caller.signal)).rejects.toThrow("left");
});

test("a thread that is lost fails all that it was to do, and the next begins anew", async () => {
  const asked = [ask(long("a1"), "a"), ask(long("a2"), "a"), ask("s0", "a")];
  encodings.lost(new Error("gone"));
  for (const one of asked) await expect(one).rejects.toThrow("gone");
  const again = ask(long("a2"), "a");
  expect(names().at(-1)).toBe("a2");
  encodings.failed(given.at(-1)?.number ?? 0, new Error("no such token"));
  await expect(again).rejects.toThrow("no such token");
});
