import { cancel } from "./cancel.ts";
import { ledger } from "./ledger.ts";
import { overhead } from "./overhead.ts";
import { pinSelf } from "./processes.ts";
import { streamsAtOnce } from "./streams.ts";
import { streamsThroughTriton } from "./streams-triton.ts";

/** `alone`: what is measured has a core of its own, and this process and the engine share the others. */
const benches: Readonly<Record<string, { readonly run: () => Promise<unknown>; readonly alone: boolean }>> = {
  overhead: { run: overhead, alone: true },
  streams: { run: streamsAtOnce, alone: true },
  "streams-triton": { run: streamsThroughTriton, alone: true },
  cancel: { run: cancel, alone: false },
  ledger: { run: ledger, alone: false },
};

const [name = ""] = process.argv.slice(2);
const bench = benches[name];
if (bench === undefined) {
  console.error(`Usage: npm run bench -- ${Object.keys(benches).join("|")}`);
  process.exit(64);
}
if (bench.alone) pinSelf();
await bench.run();
