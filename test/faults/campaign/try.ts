import { startWorld } from "./world.ts";
import { runRound, type Victim } from "./round.ts";
import { phases } from "./phases.ts";
const [shape, victim, n, seed0] = process.argv.slice(2);
await using world = await startWorld({ shape: shape as "one", keys: 20 });
for (let i = 0; i < Number(n); i++) {
  const t = performance.now();
  const round = await runRound(world, { victim: victim as Victim, aim: phases[i % 5]!, seed: Number(seed0 ?? 1) + i });
  const codes = Object.entries(Object.groupBy(round.sights.filter(s=>s.model!=="frail"), (s) => `${s.end}${s.code ? ":" + s.code : ""}`)).map(([k, v]) => `${k} ${v!.length}`).join(", ");
  console.log(i, round.aim, JSON.stringify(round.hit), `sights ${round.sights.length}`, `writes ${round.writes}`, `stop max ${Math.max(0, ...round.stoppedMs)}`, `settle ${round.settledMs}`, `round ${Math.round(performance.now() - t)}`, codes);
  for (const p of round.problems.slice(0, 10)) console.log("   ", p);
}
