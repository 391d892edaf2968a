import type { Client } from "@connectrpc/connect";
import type { AuthService } from "../../gen/ts/weir/auth/v1/auth_service_pb.ts";
import { ErrorReason } from "../../gen/ts/weir/error/v1/error_pb.ts";
import { type Subject, SubjectKind } from "../../gen/ts/weir/quota/v1/limit_pb.ts";
import { fail, type WeirError, weirErrorFrom } from "../runtime/errors/fail.ts";

/** Tells whose subjects are. Each method fails with STORE_UNAVAILABLE or SERVICE_UNAVAILABLE when that can't be told now. */
export interface SubjectOwners {
  /** Throws NOT_FOUND unless the subject exists and belongs to the organisation; so must the organisation itself. */
  check(subject: Subject, orgId: string): Promise<void>;
  /** Throws NOT_FOUND unless there is such a key in the project. */
  checkKey(keyId: string, projectId: string): Promise<void>;
}

type Asked = Pick<Client<typeof AuthService>, "resolveOrg" | "resolveProject" | "resolveKey">;

/** What is not there, or not there for this caller. */
export function notFound(resource: "organization" | "project" | "user" | "key" | "limit", id: string): WeirError {
  return fail(ErrorReason.NOT_FOUND, { resource, id });
}

/** Asks the auth service. */
export function createSubjectOwners(auth: Asked): SubjectOwners {
  const checkOrg = async (orgId: string) => {
    if ((await foundOr(auth.resolveOrg({ orgId }))) === undefined) throw notFound("organization", orgId);
  };
  return {
    async check({ kind, id }, orgId) {
      switch (kind) {
        case SubjectKind.INSTALLATION:
          return checkOrg(orgId);
        case SubjectKind.ORG:
          if (id !== orgId) throw notFound("organization", id);
          return checkOrg(orgId);
        case SubjectKind.PROJECT:
          if ((await foundOr(auth.resolveProject({ projectId: id })))?.orgId !== orgId) throw notFound("project", id);
          return;
        case SubjectKind.KEY:
          if ((await foundOr(auth.resolveKey({ keyId: id })))?.orgId !== orgId) throw notFound("key", id);
          return;
        default:
          // Nobody has a user so far: keys stand for projects alone.
          throw notFound("user", id);
      }
    },
    async checkKey(keyId, projectId) {
      if ((await foundOr(auth.resolveKey({ keyId })))?.projectId !== projectId) throw notFound("key", keyId);
    },
  };
}

/** The answer; undefined if there is no such thing, or can't be one of such a name. */
async function foundOr<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (thrown) {
    const error = weirErrorFrom(thrown);
    if (error.reason === ErrorReason.NOT_FOUND || error.reason === ErrorReason.INVALID_ARGUMENT) return undefined;
    throw error;
  }
}
