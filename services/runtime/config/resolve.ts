import { readFileSync } from "node:fs";
import { resolve as resolvePath } from "node:path";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";
import ipaddr from "ipaddr.js";
import type { Config } from "../../../gen/ts/weir/config/v1/config_pb.ts";
import type { Model, Pool, Replica } from "../../../gen/ts/weir/config/v1/engines_pb.ts";
import { readChatTemplate } from "./chat-template.ts";
import { defaults } from "./defaults.ts";
import { engineUrl } from "./engine-url.ts";
import { checkNames, type Named } from "./names.ts";
import type { Problem } from "./problem.ts";
import type {
  ChatTemplateSettings,
  HttpSettings,
  LogLevel,
  ModelSettings,
  PoolSettings,
  RoleName,
  Settings,
  TokenizerSettings,
} from "./settings.ts";
import { readTokenizer } from "./tokenizer.ts";

/** Where a configuration came from, and where its problems go. */
export interface ResolveContext {
  /** Paths in the file are relative to this folder. */
  readonly folder: string;
  /** The data folder if the command line names one. */
  readonly dataDir: string | undefined;
  readonly say: (problem: Omit<Problem, "line">) => void;
}

/** Fills in every default, reads the files that are named and checks what a single field cannot tell. */
export function resolveSettings(config: Config, context: ResolveContext): Settings {
  const dataDir = resolvePath(context.dataDir ?? resolvePath(context.folder, config.dataDir || defaults.dataDir));
  const path = (given: string | undefined, otherwise: string) =>
    resolvePath(given ? resolvePath(context.folder, given) : otherwise);
  const pools = config.pools.map((pool, index) => poolSettings(pool, index, context));
  const models = config.models.map((model, index) => modelSettings(model, index, context));
  const aliases = config.aliases.map((alias) => ({ id: alias.id, model: alias.model }));
  const named: Named = { models, aliases, pools };
  for (const found of checkNames(named)) context.say(found);
  return {
    roles: roles(config, context),
    listen: {
      host: config.listen?.host || defaults.listen.host,
      port: config.listen?.port ?? defaults.listen.port,
      adminPort: config.listen?.adminPort ?? defaults.listen.adminPort,
      meshPort: config.listen?.meshPort ?? defaults.listen.meshPort,
    },
    dataDir,
    nodeId: config.nodeId || undefined,
    postgres: {
      url: postgresUrl(config, context),
      connectionsMax: config.postgres?.connectionsMax ?? defaults.postgres.connectionsMax,
    },
    mesh: {
      peers: config.mesh?.peers ?? {},
      tokenFile: path(config.mesh?.tokenFile, resolvePath(dataDir, "mesh.token")),
    },
    http: httpSettings(config, context),
    auth: {
      staleMaxMs: ms(config.auth?.staleMax, defaults.auth.staleMaxMs),
      pepperFile: path(config.auth?.pepperFile, resolvePath(dataDir, "pepper")),
    },
    router: {
      queueMax: config.router?.queueMax ?? defaults.router.queueMax,
      queueTimeoutMs: ms(config.router?.queueTimeout, defaults.router.queueTimeoutMs),
      attemptsMax: config.router?.attemptsMax ?? defaults.router.attemptsMax,
    },
    usage: {
      journalDir: path(config.usage?.journalDir, resolvePath(dataDir, "journal")),
      journalBytesMax: Number(config.usage?.journalBytesMax ?? defaults.usage.journalBytesMax),
      retentionMs: ms(config.usage?.retention, defaults.usage.retentionMs),
    },
    models,
    aliases,
    pools,
    extensions: config.extensions.map((file) => resolvePath(context.folder, file)),
    log: { level: logLevel(config.log?.level) },
    probe: {
      intervalMs: ms(config.probe?.interval, defaults.probe.intervalMs),
      timeoutMs: ms(config.probe?.timeout, defaults.probe.timeoutMs),
    },
  };
}

function ms(duration: Duration | undefined, otherwise: number): number {
  return duration === undefined ? otherwise : durationMs(duration);
}

function logLevel(given: string | undefined): LogLevel {
  const levels: readonly LogLevel[] = ["trace", "debug", "info", "warn", "error"];
  return levels.find((level) => level === given) ?? defaults.log.level;
}

function roles(config: Config, context: ResolveContext): ReadonlySet<RoleName> {
  const named = defaults.roles.filter((role) => config.roles.includes(role));
  const set = new Set<RoleName>(named.length > 0 ? named : defaults.roles);
  if (set.has("edge") !== set.has("router")) {
    context.say({ path: "roles", message: "edge and router go together: name both or neither" });
  }
  for (const role of ["catalog", "auth", "quota", "usage"] as const) {
    if (set.has("edge") && !set.has(role) && !config.mesh?.peers[role]) {
      context.say({
        path: "mesh.peers",
        message: `role ${role} runs elsewhere: say where, as ${role}: "http://host:7070"`,
      });
    }
  }
  return set;
}

function postgresUrl(config: Config, context: ResolveContext): string | undefined {
  const { url, urlFile } = config.postgres ?? { url: "", urlFile: "" };
  const found = urlFile ? readSecret(resolvePath(context.folder, urlFile), "postgres.url_file", context) : url;
  if (!found) return undefined;
  if (url && urlFile) context.say({ path: "postgres", message: "both url and url_file: name one" });
  if (!/^postgres(ql)?:\/\//.test(found)) context.say({ path: "postgres.url", message: "must begin with postgres://" });
  return found;
}

function httpSettings(config: Config, context: ResolveContext): HttpSettings {
  const http = config.http;
  const trustedProxies = http?.trustedProxies ?? [];
  trustedProxies.forEach((block, index) => {
    if (!ipaddr.isValidCIDR(block) && !ipaddr.isValid(block)) {
      context.say({
        path: `http.trusted_proxies[${index}]`,
        message: "is no address or CIDR block, such as 10.0.0.0/8",
      });
    }
  });
  return {
    bodyBytesMax: Number(http?.bodyBytesMax ?? defaults.http.bodyBytesMax),
    connectionsPerAddressMax: http?.connectionsPerAddressMax ?? defaults.http.connectionsPerAddressMax,
    trustedProxies,
    headersTimeoutMs: ms(http?.headersTimeout, defaults.http.headersTimeoutMs),
    requestTimeoutMs: ms(http?.requestTimeout, defaults.http.requestTimeoutMs),
    slowReaderTimeoutMs: ms(http?.slowReaderTimeout, defaults.http.slowReaderTimeoutMs),
    keepaliveIntervalMs: ms(http?.keepaliveInterval, defaults.http.keepaliveIntervalMs),
    strict: http?.strict ?? defaults.http.strict,
    badKeysPerMinuteMax: http?.badKeysPerMinuteMax ?? defaults.http.badKeysPerMinuteMax,
    acceptAfterMs: ms(http?.acceptAfter, defaults.http.acceptAfterMs),
  };
}

function modelSettings(model: Model, index: number, context: ResolveContext): ModelSettings {
  checkPlainText(model, index, context);
  return {
    id: model.id,
    pool: model.pool,
    engineModel: model.engineModel || model.id,
    ownedBy: model.ownedBy || defaults.model.ownedBy,
    contextLength: Number(model.contextLength ?? 0n),
    maxOutputTokens: Number(model.maxOutputTokens ?? defaults.model.maxOutputTokens),
    chatTemplate: chatTemplate(model, index, context),
    tokenizer: tokenizer(model, index, context),
    fallbacks: model.fallbacks,
    disabled: model.disabled,
    toolParser: model.toolParser,
    reasoningParser: model.reasoningParser,
    controlText: model.controlText || defaults.model.controlText,
  };
}

/** An engine that is given the conversation applies its own template, and reads the answer itself. */
function checkPlainText(model: Model, index: number, { say }: ResolveContext): void {
  if (model.chatTemplate) return;
  const given: readonly (readonly [string, number])[] = [
    ["tool_parser", model.toolParser],
    ["reasoning_parser", model.reasoningParser],
    ["control_text", model.controlText],
  ];
  for (const [member, value] of given) {
    if (value === 0) continue;
    say({
      path: `models[${index}].${member}`,
      message: "needs chat_template: without one the engine takes the conversation, and reads its answer, itself",
    });
  }
}

function chatTemplate(model: Model, index: number, context: ResolveContext): ChatTemplateSettings | undefined {
  if (!model.chatTemplate) return undefined;
  try {
    return readChatTemplate(resolvePath(context.folder, model.chatTemplate));
  } catch (error) {
    context.say({
      path: `models[${index}].chat_template`,
      message: error instanceof Error ? error.message : "cannot be read",
    });
    return undefined;
  }
}

function tokenizer(model: Model, index: number, context: ResolveContext): TokenizerSettings | undefined {
  // What is wrong with the digest itself was said before.
  if (!model.tokenizer?.path) return undefined;
  const { path, sha256 } = model.tokenizer;
  try {
    return readTokenizer(resolvePath(context.folder, path), sha256);
  } catch (error) {
    const message = error instanceof Error ? error.message : "cannot be read";
    context.say({ path: `models[${index}].tokenizer`, message });
    return undefined;
  }
}

function poolSettings(pool: Pool, index: number, context: ResolveContext): PoolSettings {
  const at = `pools[${index}]`;
  const { engineKey, engineKeyFile } = pool;
  if (engineKey && engineKeyFile) context.say({ path: at, message: "both engine_key and engine_key_file: name one" });
  if (pool.engineKeyHeader && !engineKey && !engineKeyFile)
    context.say({ path: `${at}.engine_key_header`, message: "carries engine_key or engine_key_file: name one" });
  const key = engineKeyFile
    ? readSecret(resolvePath(context.folder, engineKeyFile), `${at}.engine_key_file`, context)
    : engineKey;
  const idleTimeoutMs = ms(pool.idleTimeout, defaults.pool.idleTimeoutMs);
  return {
    id: pool.id,
    replicas: pool.replicas.map((replica, r) => ({
      id: replica.id || `${pool.id}-${r}`,
      ...replicaUrls(replica, pool, `${at}.replicas[${r}]`, context),
      dialect: replica.dialect,
    })),
    hosted: pool.hosted,
    allowedMembers: pool.allowedMembers,
    engineKey: key || undefined,
    engineKeyHeader: pool.engineKeyHeader || defaults.pool.engineKeyHeader,
    choicesMax: pool.choicesMax ?? defaults.pool.choicesMax,
    concurrencyMax: pool.concurrencyMax ?? 0,
    firstEventTimeoutMs: ms(pool.firstEventTimeout, defaults.pool.firstEventTimeoutMs),
    idleTimeoutMs,
    toolIdleTimeoutMs: ms(pool.toolIdleTimeout, Math.max(idleTimeoutMs, defaults.pool.toolIdleTimeoutMs)),
    totalTimeoutMs: ms(pool.totalTimeout, defaults.pool.totalTimeoutMs),
    receiveBytesMax: Number(pool.receiveBytesMax ?? defaults.pool.receiveBytesMax),
    discover: undefined,
  };
}

function replicaUrls(
  { url, httpUrl }: Replica,
  { allowPrivate }: Pool,
  at: string,
  context: ResolveContext,
): { readonly url: string; readonly httpUrl: string } {
  const checked = (given: string, member: string): string => {
    const found = engineUrl(given, { allowPrivate });
    if ("url" in found) return found.url;
    context.say({ path: `${at}.${member}`, message: found.problem });
    return "";
  };
  const http = httpUrl && checked(httpUrl, "http_url");
  if (http && !/^https?:/.test(http))
    context.say({ path: `${at}.http_url`, message: "is no HTTP address; write http://host:port" });
  return { url: checked(url, "url"), httpUrl: http };
}

function readSecret(path: string, at: string, context: ResolveContext): string {
  let secret = "";
  try {
    secret = readFileSync(path, "utf8").trim();
    if (secret === "")
      context.say({ path: at, message: `${path} is empty: write the secret into it, or leave this field out` });
  } catch (error) {
    context.say({ path: at, message: `cannot be read: ${error instanceof Error ? error.message : "unknown"}` });
  }
  return secret;
}
