import type { Clock } from "./runtime/clock.ts";
import { discoveredPool, type Loaded } from "./runtime/config/load.ts";
import type { Settings } from "./runtime/config/settings.ts";

/** Settings to run with, and the simulator if it stands in for an engine. */
export interface Demo extends AsyncDisposable {
  readonly settings: Settings;
  readonly simulated: boolean;
}

/**
 * Without a configuration file and without an engine, starts the simulator and points a pool at it. With a file nothing
 * is simulated, whatever it lacks: nobody's typo may serve invented text.
 */
export async function openDemo(loaded: Loaded, clock: Clock): Promise<Demo> {
  const { settings, file } = loaded;
  if (file !== "" || settings.pools.length > 0) {
    return { settings, simulated: false, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  const { startSimulator } = await import("./simulator/simulator.ts");
  const simulator = await startSimulator({ openai: { port: 0 }, models: ["weir-sim"], clock });
  return {
    settings: { ...settings, pools: [discoveredPool([simulator.httpUrl], undefined, "demo")] },
    simulated: true,
    [Symbol.asyncDispose]: () => simulator[Symbol.asyncDispose](),
  };
}
