/*
 * Series that every request moves. A general metrics library hashes the labels of a call, twice for a histogram, which
 * costs 1 us and a kilobyte each time; here a look-up by each label finds the number itself.
 */

/** What has a name and labels, and can be written in Prometheus' text format. */
interface Named {
  readonly name: string;
  readonly help: string;
  /** At most three. */
  readonly labels: readonly string[];
}

/** One set of values for the labels. */
interface Series<T> {
  readonly labels: string;
  readonly state: T;
}

/** States by the values of up to three labels. The values are from closed sets. */
class ByLabels<T> {
  readonly #names: readonly string[];
  readonly #make: () => T;
  readonly #found = new Map<string, Map<string, Map<string, T>>>();
  readonly series: Series<T>[] = [];

  constructor(names: readonly string[], make: () => T) {
    this.#names = names;
    this.#make = make;
  }

  of(a: string, b: string, c: string): T {
    return this.#found.get(a)?.get(b)?.get(c) ?? this.#add(a, b, c);
  }

  #add(a: string, b: string, c: string): T {
    const state = this.#make();
    const values = [a, b, c];
    const labels = this.#names.map((name, index) => `${name}="${escaped(values[index] ?? "")}"`).join(",");
    this.series.push({ labels, state });
    const byB = this.#found.get(a) ?? new Map<string, Map<string, T>>();
    const byC = byB.get(b) ?? new Map<string, T>();
    this.#found.set(a, byB.set(b, byC.set(c, state)));
    return state;
  }
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function headOf({ name, help }: Named, type: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

/** A number that goes up, or up and down. */
export interface Level {
  value: number;
}

/** Numbers that go up, and where `type` is gauge also down. */
export class Levels {
  readonly #of: Named;
  readonly #type: "counter" | "gauge";
  readonly #levels: ByLabels<Level>;

  constructor(type: "counter" | "gauge", of: Named) {
    this.#of = of;
    this.#type = type;
    this.#levels = new ByLabels(of.labels, () => ({ value: 0 }));
  }

  /** The number for these values of the labels. */
  of(a: string, b = "", c = ""): Level {
    return this.#levels.of(a, b, c);
  }

  text(): string {
    let text = headOf(this.#of, this.#type);
    for (const { labels, state } of this.#levels.series) text += `${this.#of.name}{${labels}} ${state.value}\n`;
    return text;
  }
}

interface Durations {
  /** By bucket, not cumulative; the last one is above every bound. */
  readonly counts: number[];
  sumMs: number;
}

/** Durations by bucket. They are given in milliseconds, and written in seconds. */
export class Histogram {
  readonly #of: Named;
  /** In seconds. */
  readonly #bounds: readonly number[];
  readonly #durations: ByLabels<Durations>;

  constructor(bounds: readonly number[], of: Named) {
    this.#of = of;
    this.#bounds = bounds;
    this.#durations = new ByLabels(of.labels, () => ({
      counts: Array.from({ length: bounds.length + 1 }, () => 0),
      sumMs: 0,
    }));
  }

  observe(durationMs: number, a: string, b = ""): void {
    const bounds = this.#bounds;
    const durations = this.#durations.of(a, b, "");
    durations.sumMs += durationMs;
    let bucket = 0;
    while (bucket < bounds.length && durationMs > (bounds[bucket] ?? 0) * 1000) bucket++;
    durations.counts[bucket] = (durations.counts[bucket] ?? 0) + 1;
  }

  text(): string {
    const { name } = this.#of;
    let text = headOf(this.#of, "histogram");
    for (const { labels, state } of this.#durations.series) {
      let below = 0;
      for (const [index, count] of state.counts.entries()) {
        below += count;
        text += `${name}_bucket{${labels},le="${this.#bounds[index] ?? "+Inf"}"} ${below}\n`;
      }
      text += `${name}_sum{${labels}} ${state.sumMs / 1000}\n${name}_count{${labels}} ${below}\n`;
    }
    return text;
  }
}
