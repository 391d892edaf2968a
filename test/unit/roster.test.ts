import { expect, test } from "vitest";
import { Roster, type Rostered } from "../../services/runtime/roster.ts";

const named = (name: string): Rostered & { readonly name: string } => ({ name, place: -1 });
const names = (roster: Roster<ReturnType<typeof named>>) => Array.from(roster, ({ name }) => name).toSorted();

test("who enters is there until it leaves, whoever leaves before it", () => {
  const roster = new Roster<ReturnType<typeof named>>();
  const [a, b, c] = [named("a"), named("b"), named("c")];
  for (const one of [a, b, c, b]) roster.add(one);
  expect([roster.size, names(roster)]).toEqual([3, ["a", "b", "c"]]);
  roster.delete(a);
  roster.delete(a);
  expect(names(roster)).toEqual(["b", "c"]);
  roster.delete(c);
  expect(names(roster)).toEqual(["b"]);
  roster.add(a);
  roster.delete(b);
  expect(names(roster)).toEqual(["a"]);
  roster.delete(a);
  expect(roster.size).toBe(0);
});

test("who stands in another roster, or in none, is not taken out of this one", () => {
  const [one, other] = [new Roster<Rostered>(), new Roster<Rostered>()];
  const [mine, theirs, nobodys] = [named("mine"), named("theirs"), named("nobody's")];
  one.add(mine);
  other.add(theirs);
  one.delete(theirs);
  one.delete(nobodys);
  expect([one.size, other.size]).toEqual([1, 1]);
});

test("all can leave while they are gone through", () => {
  const roster = new Roster<Rostered>();
  const all = Array.from({ length: 5 }, (_, index) => named(String(index)));
  for (const one of all) roster.add(one);
  let told = 0;
  for (const one of roster) {
    told++;
    roster.delete(one);
  }
  expect([told, roster.size]).toEqual([5, 0]);
});
