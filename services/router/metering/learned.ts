/** Models are those of the configuration; one that is gone is forgotten when others need its place. */
const modelsMax = 10_000;

/** Moving averages, by model. They are read several times for each request. */
export class Learned {
  readonly #weight: number;
  readonly #averages = new Map<string, { value: number }>();

  /** @param weight of the newest. */
  constructor(weight: number) {
    this.#weight = weight;
  }

  get(modelId: string): number | undefined {
    return this.#averages.get(modelId)?.value;
  }

  /** @param first what the average begins at. */
  learn(modelId: string, seen: number, first: number): void {
    const known = this.#averages.get(modelId);
    if (known) known.value += this.#weight * (seen - known.value);
    else this.#begin(modelId, first + this.#weight * (seen - first));
  }

  #begin(modelId: string, value: number): void {
    const [oldest] = this.#averages.size >= modelsMax ? this.#averages.keys() : [];
    if (oldest !== undefined) this.#averages.delete(oldest);
    this.#averages.set(modelId, { value });
  }
}
