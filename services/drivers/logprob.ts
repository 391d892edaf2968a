/** What a probability of nothing is written as, because JSON has no infinity. vLLM writes it so over HTTP. */
export const logprobLeast = -9_999;
