import type { Attempt, Driver } from "../../services/drivers/driver.ts";
import type { Tokenizer } from "../../services/drivers/tokens/tokenizers.ts";
import type { WeirError } from "../../services/runtime/errors/fail.ts";

/** The same driver, which gets the ids of a prompt as the router gives them where a model takes nothing else. */
export function encodingDriver(driver: Driver, tokenizer: Tokenizer): Driver {
  const encoded = async (attempt: Attempt): Promise<Attempt> => {
    const { input } = attempt.request;
    const vocabulary = await tokenizer.vocabulary;
    const ids =
      input.case === "tokenIds"
        ? Uint32Array.from(input.value.ids)
        : await tokenizer.encode(attempt.prompt ?? String(input.value), { owner: "", special: false });
    return { ...attempt, tokens: { ids, vocabulary } };
  };
  return {
    ...driver,
    generate(attempt, sink) {
      let reason: WeirError | undefined;
      let cancel = (why: WeirError): void => void (reason = why);
      void encoded(attempt).then((complete) => {
        if (!reason) cancel = driver.generate(complete, sink);
      });
      return (why) => cancel(why);
    },
  };
}
