import { overhead } from "./overhead.ts";
import { pinSelf } from "./processes.ts";
import { streamsAtOnce } from "./streams.ts";

const benches: Readonly<Record<string, () => Promise<unknown>>> = { overhead, streams: streamsAtOnce };

const [name = ""] = process.argv.slice(2);
const bench = benches[name];
if (bench === undefined) {
  console.error(`Usage: npm run bench -- ${Object.keys(benches).join("|")}`);
  process.exit(64);
}
pinSelf();
await bench();
