import { expect, it } from "vitest";
import { createClientAddress } from "../../services/runtime/server/client-address.ts";

const rows: readonly (readonly [
  name: string,
  trusted: readonly string[],
  remote: string | undefined,
  forwarded: string | undefined,
  address: string,
])[] = [
  ["without proxies the connection's", [], "203.0.113.9", "1.2.3.4", "203.0.113.9"],
  ["IPv4 in IPv6 is one caller", [], "::ffff:203.0.113.9", undefined, "203.0.113.9"],
  ["behind a trusted proxy the one it tells", ["10.0.0.0/8"], "10.0.0.1", "203.0.113.9", "203.0.113.9"],
  [
    "what a caller claims before a trusted proxy is not believed",
    ["10.0.0.0/8"],
    "10.0.0.1",
    "1.1.1.1, 203.0.113.9",
    "203.0.113.9",
  ],
  ["a chain of trusted proxies is followed", ["10.0.0.0/8"], "10.0.0.1", "203.0.113.9, 10.0.0.7", "203.0.113.9"],
  ["an untrusted connection tells nothing", ["10.0.0.0/8"], "198.51.100.1", "203.0.113.9", "198.51.100.1"],
  ["junk ends the chain", ["10.0.0.0/8"], "10.0.0.1", "203.0.113.9, junk", "10.0.0.1"],
  ["a single address may be trusted", ["10.0.0.1"], "10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["an IPv6 block", ["fd00::/8"], "fd00::1", "2001:db8::1", "2001:db8::1"],
  ["a connection that is gone", [], undefined, undefined, ""],
];

it.each(rows)("%s", (_name, trusted, remote, forwarded, address) => {
  expect(createClientAddress(trusted)(remote, forwarded)).toBe(address);
});
