import { startWorld } from "./world.ts";
const t0 = performance.now();
await using world = await startWorld({ shape: "one", keys: 3 });
console.log("world", performance.now() - t0, "ready", world.data.now.readyMs);
for (let i = 0; i < 8; i++) {
  const r = await fetch(`${world.data.now.url}/v1/completions`, { method: "POST", headers: { authorization: `Bearer ${world.keys[0]!.secret}`, "content-type": "application/json" }, body: JSON.stringify({ model: "tgis", prompt: "hello", max_tokens: 2 }) });
  console.log(r.status, (await r.text()).slice(0, 300));
  await new Promise((r) => setTimeout(r, 500));
}
console.log(world.data.now.log().split("\n").filter(l => l.includes("tgis")).join("\n"));
for (let i = 0; i < 2; i++) { await world.data.kill(); await world.data.start(); console.log("ready", world.data.now.readyMs); }
