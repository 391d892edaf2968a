import type { Model } from "./models.ts";

const cuda = "CUDA error: an illegal memory access was encountered";

/** What a model says when its engine fails, wrapped as each kind of model wraps it. */
export function engineFailure(model: Model, id: string): string {
  switch (model.flavour) {
    case "ensemble":
      return modelFailure(model, `[request id: ${id}] Encountered an error in forwardAsync function: ${cuda}`);
    case "bls":
      return modelFailure(model, `Encountered an error in forwardAsync function: ${cuda}`);
    case "llmapi":
    case "vllm":
    case "core":
    case "embedding":
    case "preprocessing":
      return modelFailure(model, cuda);
  }
}

/** How a model tells of a failure: an ensemble names its step, BLS shows its source, the vLLM backend says its phrase. */
export function modelFailure(model: Model, text: string): string {
  switch (model.flavour) {
    case "ensemble":
      return `in ensemble '${model.name}', ${text}`;
    case "bls":
      return [
        "Traceback (most recent call last):",
        '  File "/models/tensorrt_llm_bls/1/model.py", line 108, in execute',
        "    for res in res_gen:",
        '  File "/models/tensorrt_llm_bls/1/lib/decode.py", line 219, in decode',
        "    for gen_response in self._generate_non_streaming(preproc_response, request):",
        `c_python_backend_utils.TritonModelException: ${text}`,
        "",
      ].join("\n");
    case "llmapi":
      return `Error generating request: ${text}`;
    case "vllm":
      return `Error generating stream: ${text}`;
    case "core":
    case "embedding":
    case "preprocessing":
      return text;
  }
}
