import ipaddr from "ipaddr.js";

/** What an engine's address may be. */
export interface UrlRules {
  /** Also link-local addresses, such as a cloud's metadata server. */
  readonly allowPrivate: boolean;
}

/**
 * An engine's address in its one written form, without a trailing slash: grpc://host:port or http(s)://host[:port]/path,
 * for a deployment of Azure's with its version.
 * Without a scheme, `host:8001` or `host:8000/v1` is taken as plain HTTP or gRPC by asking: `any://`.
 */
export function engineUrl(given: string, rules: UrlRules): { readonly url: string } | { readonly problem: string } {
  const schemed = /^[a-z][a-z0-9+.-]*:\/\//i.test(given) ? given : `any://${given}`;
  const parsed = URL.canParse(schemed) ? new URL(schemed) : undefined;
  if (parsed === undefined || parsed.hostname === "") {
    return { problem: "is no address; write grpc://host:port, http://host:port or https://host/path" };
  }
  if (!["grpc:", "http:", "https:", "any:"].includes(parsed.protocol)) {
    return { problem: `scheme ${parsed.protocol.slice(0, -1)} is not spoken; write grpc://, http:// or https://` };
  }
  if (parsed.username !== "" || parsed.password !== "") {
    return { problem: "has a credential in it; use engine_key_file or engine_key: ${ENV}" };
  }
  // Azure's deployments are addressed by a version too.
  const isVersioned = /\/openai\/deployments\/[^/]+\/*$/.test(parsed.pathname) && versionForm.test(parsed.search);
  if ((parsed.search !== "" && !isVersioned) || parsed.hash !== "")
    return { problem: "has a query or fragment; leave it out" };
  if (!rules.allowPrivate && isLinkLocal(parsed.hostname)) {
    return {
      problem:
        "is a link-local address (a cloud's metadata server?); set allow_private: true on the pool if you mean it",
    };
  }
  const isGrpc = parsed.protocol === "grpc:";
  if ((isGrpc || parsed.protocol === "any:") && parsed.port === "") return { problem: "needs a port" };
  const path = isGrpc ? "" : parsed.pathname.replace(/\/+$/, "");
  return { url: `${parsed.protocol}//${parsed.host}${path}${parsed.search}` };
}

const versionForm = /^\?api-version=[\w.-]{1,32}$/;

/** Names under which clouds serve metadata. */
const metadataNames: ReadonlySet<string> = new Set(["metadata.google.internal", "metadata", "instance-data"]);

function isLinkLocal(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "");
  if (metadataNames.has(host.toLowerCase())) return true;
  if (!ipaddr.isValid(host)) return false;
  const address = ipaddr.process(host);
  return address.range() === "linkLocal" || address.toString() === "fd00:ec2::254";
}
