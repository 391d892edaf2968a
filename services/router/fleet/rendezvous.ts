/** A 32-bit hash of a text (FNV-1a over its UTF-16 units, then mixed): for spreading, never for secrets. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return mix(hash);
}

/**
 * How much a key belongs to a node: each key goes to the node with the highest weight, so that a node that comes or
 * goes moves only its own share of the keys.
 */
export function weight(keyHash: number, nodeHash: number): number {
  return mix(keyHash ^ Math.imul(nodeHash, 0x9e3779b1)) >>> 0;
}

// The finaliser of MurmurHash3: every bit of the input changes about half of the output's.
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Of the hint of a project's requests; 0: there is none. A hint of one project says nothing of another's. */
export function affinityOf(projectId: string, hint: string): number {
  return hint ? hash32(`${projectId} ${hint}`) || 1 : 0;
}
