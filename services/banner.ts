/** What is printed when a process is ready: a few lines that a person can go on from. */
export interface Started {
  readonly version: string;
  readonly readyMs: number;
  /** Undefined for a process without an edge. */
  readonly apiUrl: string | undefined;
  readonly adminUrl: string;
  /** Where other processes of the installation reach this one; undefined where all roles run in one. */
  readonly meshUrl: string | undefined;
  /** The file with the first admin key, where this process made or found one. */
  readonly adminKeyFile: string | undefined;
  /** The key itself, on the start that made it only. */
  readonly adminKey: string | undefined;
  /** Undefined for a process that serves none. */
  readonly models: readonly string[] | undefined;
  readonly demo: boolean;
}

/** More are counted, not named. */
const modelsShown = 8;

/** The lines to print. */
export function banner(started: Started): string {
  const lines = [`Weir ${started.version} is ready after ${(started.readyMs / 1000).toFixed(1)} s`];
  if (started.demo)
    lines.push(
      "DEMO: no engine is named, so a simulator invents the answers. Name yours with --engine URL or --config FILE.",
    );
  if (started.apiUrl !== undefined) lines.push(`API        ${started.apiUrl}/v1`);
  lines.push(`Admin      ${started.adminUrl}/readyz, /metrics`);
  if (started.meshUrl !== undefined) lines.push(`Mesh       ${started.meshUrl}`);
  if (started.adminKey !== undefined)
    lines.push(`Admin key  ${started.adminKey}   (shown this once; kept in ${started.adminKeyFile ?? "?"})`);
  else if (started.adminKeyFile !== undefined) lines.push(`Admin key  in ${started.adminKeyFile}`);
  if (started.apiUrl !== undefined && started.models !== undefined) {
    lines.push(`Models     ${modelsLine(started.models)}`);
    const model = started.models[0];
    if (model !== undefined && started.adminKeyFile !== undefined)
      lines.push("", "Try it:", curl(started.apiUrl, started.adminKeyFile, model));
  }
  return `${lines.join("\n")}\n`;
}

function modelsLine(models: readonly string[]): string {
  if (models.length === 0) return "none so far: no engine has answered (see /readyz and the log)";
  const more = models.length - modelsShown;
  return models.slice(0, modelsShown).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** A line that works as it is pasted, also where the key has been rotated in the file. */
function curl(apiUrl: string, adminKeyFile: string, model: string): string {
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello!" }] });
  return `  curl ${apiUrl}/v1/chat/completions -H "Authorization: Bearer $(cat ${quoted(adminKeyFile)})" -H 'Content-Type: application/json' -d ${quoted(body)}`;
}

function quoted(text: string): string {
  return /^[A-Za-z0-9_./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
