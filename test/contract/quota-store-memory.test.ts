import { createMemoryQuotaStore } from "../../services/quota/store-memory.ts";
import { type Around, quotaStoreSuite } from "./quota-store.ts";
import { leaseEndRules } from "./quota-lease-end-rules.ts";
import { releaseRules } from "./quota-release-rules.ts";
import { restoredRules } from "./quota-restored-rules.ts";
import { quotaStoreRules } from "./quota-store-rules.ts";
import { takenUpRules } from "./quota-taken-up-rules.ts";

const open = async ({ clock, ids }: Around) => createMemoryQuotaStore({ clock, ids });

quotaStoreSuite("the memory store", open);
quotaStoreRules("the memory store", open);
takenUpRules("the memory store", open);
releaseRules("the memory store", open);
leaseEndRules("the memory store", open);
restoredRules("the memory store", open);
