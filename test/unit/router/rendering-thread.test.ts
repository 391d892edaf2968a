import { afterEach, expect, test } from "vitest";
import { ControlText } from "../../../gen/ts/weir/catalog/v1/model_pb.ts";
import { RenderingThread } from "../../../services/router/prompt/rendering-thread.ts";

let thread = new RenderingThread();
/** What was rendered, in the order in which it was. */
let told: string[] = [];
afterEach(async () => {
  await thread[Symbol.asyncDispose]();
  thread = new RenderingThread();
  told = [];
});

function render(owner: string, text: string) {
  const source = "{{ messages[0].content }}";
  const rendering = thread.render(owner, {
    source,
    sha256: source,
    controlTokens: [],
    order: { variables: {}, policy: ControlText.ALLOW, splitter: "" },
    inputJson: JSON.stringify({ messages: [{ content: text }] }),
  });
  void rendering.rendered.then((ready) => told.push(ready.kind === "prompt" ? ready.text : ready.kind));
  return rendering;
}

test("owners take turns, and what is dropped while it waits is not rendered", async () => {
  const many = ["a1", "a2", "a3", "a4"].map((text) => render("a", text));
  const last = render("b", "b1");
  many[2]?.drop();
  await Promise.all([many[3]?.rendered, last.rendered]);
  // The first two of one owner were there before anybody else.
  expect(told).toEqual(["a1", "a2", "b1", "a4"]);
});

test("what waits when the thread is closed is told so", async () => {
  const waiting = [render("a", "x"), render("a", "y")];
  await thread[Symbol.asyncDispose]();
  for (const { rendered } of waiting) expect(await rendered).toMatchObject({ kind: "failed" });
  expect(await render("a", "z").rendered).toMatchObject({ kind: "failed" });
});
