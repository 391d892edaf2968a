/**
 * How long a connection may take. A lost SYN is sent again after 1 s, so that one loss is borne and a dead host is found
 * out before a caller loses patience.
 */
export const connectTimeoutMs = 3_000;

/** How long one question of a probe may take; an engine that is busy generating still answers these at once. */
export const questionTimeoutMs = 10_000;
