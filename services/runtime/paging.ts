import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { fail } from "./errors/fail.ts";

/** Which page a list request asks for, as every one of them says it. */
export interface PageRequest {
  /** 0 stands for the method's own default. */
  readonly pageSize: number;
  /** `next_page_token` of the page before; empty: the first page. */
  readonly pageToken: string;
}

/** A page of a list that is held in memory. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Empty on the last page. */
  readonly nextPageToken: string;
}

/**
 * The page of a list in the order of its keys. A token names the last key of the page before, so that what is added or
 * removed meanwhile neither repeats nor hides anything else. Throws INVALID_ARGUMENT for a token that is none.
 *
 * @param keyOf gives each item's key; keys are unique.
 */
export function pageOf<T>(
  list: readonly T[],
  keyOf: (item: T) => string,
  request: PageRequest,
  pageSizeDefault: number,
): Page<T> {
  const after = keyFromToken(request.pageToken);
  const size = request.pageSize || pageSizeDefault;
  const keyed = list.map((item) => ({ key: keyOf(item), item })).filter(({ key }) => key > after);
  keyed.sort((a, b) => (a.key < b.key ? -1 : 1));
  const page = keyed.slice(0, size);
  const last = page.at(-1);
  return {
    items: page.map(({ item }) => item),
    nextPageToken: last && keyed.length > size ? tokenFromKey(last.key) : "",
  };
}

/** The token of the page that follows a key. */
export function tokenFromKey(key: string): string {
  return Buffer.from(key, "utf8").toString("base64url");
}

/** The key that a page follows; empty for the first page. Throws INVALID_ARGUMENT for a token that is none. */
export function keyFromToken(token: string): string {
  const key = Buffer.from(token, "base64url").toString("utf8");
  if (tokenFromKey(key) === token) return key;
  throw fail(ErrorReason.INVALID_ARGUMENT, {
    param: "page_token",
    code: "invalid_value",
    problem: "is no next_page_token of this list",
  });
}
