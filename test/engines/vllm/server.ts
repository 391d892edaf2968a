import { join } from "node:path";
import { startVllmProcess, type VllmProcess } from "../vllm-process.ts";

/** vLLM with its Rust front end, which serves its own gRPC and OpenAI's HTTP. `slots` requests run at a time. */
export function startVllm(slots: number): Promise<VllmProcess> {
  return startVllmProcess("vllm", ({ installation, model, httpPort, grpcPort }) => {
    const python = join(installation, "venv", "bin", "python");
    const front = `--host 127.0.0.1 --port ${httpPort} --grpc-port ${grpcPort} --served-model-name weir-tiny`;
    const engine = `--max-num-seqs ${slots} --enforce-eager --dtype float32`;
    const program = join(installation, "vllm-rs");
    return [program, "serve", model, ...front.split(" "), "--python", python, "--", ...engine.split(" ")];
  });
}
