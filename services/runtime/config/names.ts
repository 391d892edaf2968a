import type { Problem } from "./problem.ts";

/** What is checked of the names in a configuration. */
export interface Named {
  readonly models: readonly { readonly id: string; readonly pool: string; readonly fallbacks: readonly string[] }[];
  readonly aliases: readonly { readonly id: string; readonly model: string }[];
  readonly pools: readonly { readonly id: string; readonly replicas: readonly { readonly id: string }[] }[];
}

type Found = Omit<Problem, "line">;

/** Repeated names, names of nothing, and circles. */
export function checkNames(config: Named): readonly Found[] {
  const found: Found[] = [];
  const say = (path: string, message: string) => found.push({ path, message });
  repeated(config.pools, (id, index) => say(`pools[${index}].id`, `pool \`${id}\` is defined twice`));
  const replicas = config.pools.flatMap((pool, p) =>
    pool.replicas.map((replica, r) => ({ id: replica.id, path: `pools[${p}].replicas[${r}].id` })),
  );
  repeated(replicas, (id, index) => say(replicas[index]?.path ?? "", `replica \`${id}\` is defined twice`));
  repeated(config.models, (id, index) => say(`models[${index}].id`, `model \`${id}\` is defined twice`));
  repeated(config.aliases, (id, index) => say(`aliases[${index}].id`, `alias \`${id}\` is defined twice`));

  const pools = new Set(config.pools.map((pool) => pool.id));
  const models = new Set(config.models.map((model) => model.id));
  const aliases = new Map(config.aliases.map((alias) => [alias.id, alias.model]));
  config.models.forEach((model, index) => {
    if (!pools.has(model.pool))
      say(`models[${index}].pool`, `no pool \`${model.pool}\`; defined here: ${[...pools].join(", ") || "none"}`);
    model.fallbacks.forEach((name, f) => {
      if (!models.has(name)) say(`models[${index}].fallbacks[${f}]`, `no model \`${name}\``);
    });
  });
  config.aliases.forEach((alias, index) => {
    if (models.has(alias.id)) say(`aliases[${index}].id`, `alias \`${alias.id}\` hides the model of that name`);
    if (!models.has(alias.model) && !aliases.has(alias.model))
      say(`aliases[${index}].model`, `no model or alias \`${alias.model}\``);
    const circle = circleFrom(alias.id, (name) => [aliases.get(name)].filter((next) => next !== undefined));
    if (circle) say(`aliases[${index}].model`, `aliases go in a circle: ${circle.join(" -> ")}`);
  });
  const fallbacks = new Map(config.models.map((model) => [model.id, model.fallbacks]));
  config.models.forEach((model, index) => {
    const circle = circleFrom(model.id, (name) => fallbacks.get(name) ?? []);
    if (circle) say(`models[${index}].fallbacks`, `fallbacks go in a circle: ${circle.join(" -> ")}`);
  });
  return found;
}

/** The model that an alias stands for, over any number of aliases. Only for names that {@link checkNames} passed. */
export function resolveAlias(name: string, aliases: ReadonlyMap<string, string>): string {
  let at = name;
  for (let next = aliases.get(at); next !== undefined; next = aliases.get(at)) at = next;
  return at;
}

function repeated(items: readonly { readonly id: string }[], say: (id: string, index: number) => void): void {
  const seen = new Set<string>();
  items.forEach((item, index) => {
    if (seen.has(item.id)) say(item.id, index);
    seen.add(item.id);
  });
}

/** A way from a name back to itself. */
function circleFrom(start: string, next: (name: string) => readonly string[]): readonly string[] | undefined {
  const seen = new Set<string>();
  const walk = (name: string, path: readonly string[]): readonly string[] | undefined => {
    for (const to of next(name)) {
      if (to === start) return [...path, to];
      if (seen.has(to)) continue;
      seen.add(to);
      const circle = walk(to, [...path, to]);
      if (circle) return circle;
    }
    return undefined;
  };
  return walk(start, [start]);
}
