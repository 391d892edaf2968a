import { cancel } from "./cancel.ts";
import { drivers } from "./drivers.ts";
import { ledger } from "./ledger.ts";
import { overhead } from "./overhead.ts";
import { pinSelf } from "./processes.ts";
import { profile } from "./profile.ts";
import { quota } from "./quota.ts";
import { streamsAtOnce } from "./streams.ts";
import { streamsOverGrpc } from "./streams-grpc.ts";

interface Bench {
  readonly run: (args: readonly string[]) => Promise<unknown>;
  /** What is measured has a core of its own, and this process and the engine share the others. */
  readonly alone: boolean;
}

const benches: Readonly<Record<string, Bench>> = {
  overhead: { run: overhead, alone: true },
  drivers: { run: drivers, alone: true },
  profile: { run: profile, alone: true },
  streams: { run: streamsAtOnce, alone: true },
  "streams-grpc": { run: streamsOverGrpc, alone: true },
  cancel: { run: cancel, alone: false },
  ledger: { run: ledger, alone: false },
  quota: { run: quota, alone: false },
};

const [name = "", ...args] = process.argv.slice(2);
const bench = benches[name];
if (bench === undefined) {
  console.error(`Usage: npm run bench -- ${Object.keys(benches).join("|")}`);
  process.exit(64);
}
if (bench.alone) await pinSelf();
await bench.run(args);
