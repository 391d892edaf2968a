import ipaddr from "ipaddr.js";

/** Tells the caller's address, believing only proxies of the operator's own. */
export type ClientAddress = (remote: string | undefined, forwardedFor: string | undefined) => string;

/**
 * Builds the rule from CIDR blocks (or single addresses) of trusted proxies. The chain of X-Forwarded-For is read from
 * its end: the first address that is no trusted proxy is the caller's.
 */
export function createClientAddress(trustedProxies: readonly string[]): ClientAddress {
  const blocks = trustedProxies.map((block) => {
    if (ipaddr.isValidCIDR(block)) return ipaddr.parseCIDR(block);
    const address = ipaddr.process(block);
    return [address, address.kind() === "ipv4" ? 32 : 128] as const;
  });
  const trusted = (text: string) => {
    if (!ipaddr.isValid(text)) return false;
    const address = ipaddr.process(text);
    return blocks.some(([network, bits]) => network.kind() === address.kind() && address.match([network, bits]));
  };
  return (remote, forwardedFor) => {
    let at = plain(remote ?? "");
    if (blocks.length === 0 || forwardedFor === undefined || !trusted(at)) return at;
    for (const hop of forwardedFor.split(",").reverse()) {
      const address = hop.trim();
      if (!ipaddr.isValid(address)) return at;
      at = plain(address);
      if (!trusted(at)) return at;
    }
    return at;
  };
}

/** ::ffff:10.0.0.1 as 10.0.0.1, so that one caller has one address. */
function plain(address: string): string {
  if (!address.includes(":")) return address;
  return ipaddr.isValid(address) ? ipaddr.process(address).toString() : address;
}
