import type { Counter } from "./counter.ts";

/**
 * What one request or one node holds of a counter: it may use `amount`, and `spent` of it is known to be used. The
 * counter has the greater of the two as drawn.
 *
 * A draw belongs to the window in which it was made. When a budget's window has ended, what was held then covers the
 * first part of what is used, and only what goes beyond it is drawn from the window that runs now.
 */
export interface Account {
  readonly counter: Counter;
  readonly holder: "share" | "lease";
  window: number;
  /** What was held in windows that have ended. */
  past: bigint;
  /** In the window that runs now. */
  amount: bigint;
  spent: bigint;
}

/** Adds an empty account to what `more` says of the holder. */
export function openAccount<T extends object>(counter: Counter, holder: Account["holder"], more: T): Account & T {
  return { counter, holder, window: counter.window, past: 0n, amount: 0n, spent: 0n, ...more };
}

/** All that an account was given since it was opened, or has spent if that is more. */
export function heldBy(account: Account): bigint {
  return account.past + (account.amount > account.spent ? account.amount : account.spent);
}

/**
 * Sets what an account may use and has used in all since it was opened, and draws the difference from its counter or
 * gives it back. The counter is as of now.
 */
export function book(account: Account, amount: bigint, spent: bigint): void {
  const { counter } = account;
  moveOn(account);
  const newAmount = atLeastZero(amount - account.past);
  const newSpent = atLeastZero(spent - account.past);
  const held = account.amount > account.spent ? account.amount : account.spent;
  const newHeld = newAmount > newSpent ? newAmount : newSpent;
  if (newHeld !== held) counter.draw(newHeld - held);
  counter.outstanding[account.holder] += newHeld - newSpent - (held - account.spent);
  account.amount = newAmount;
  account.spent = newSpent;
}

/** So much was held in windows that have ended, also where another store counted them. */
export function leaveBehind(account: Account, past: bigint): void {
  moveOn(account);
  if (past > account.past) account.past = past;
}

/** Leaves what was held in a window that has ended behind. */
export function moveOn(account: Account): void {
  if (account.window === account.counter.window) return;
  account.past = heldBy(account);
  account.amount = 0n;
  account.spent = 0n;
  account.window = account.counter.window;
}

function atLeastZero(value: bigint): bigint {
  return value > 0n ? value : 0n;
}
