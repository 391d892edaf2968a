import { join } from "node:path";
import { startVllmProcess, type VllmProcess } from "../vllm-process.ts";

/** The default, 1,024, would end long generations before a test has stopped them. */
const newTokensMax = 8_000;

/** vLLM behind its TGIS adapter, which serves TGIS' gRPC and OpenAI's HTTP. `slots` requests run at a time. */
export function startTgis(slots: number): Promise<VllmProcess> {
  return startVllmProcess("tgis", ({ installation, model, httpPort, grpcPort }) => {
    const python = join(installation, "venv", "bin", "python");
    const front = `--host 127.0.0.1 --port ${httpPort} --grpc-port ${grpcPort} --max-new-tokens ${newTokensMax}`;
    const engine = `--max-num-seqs ${slots} --enforce-eager --dtype float32`;
    return [python, "-m", "vllm_tgis_adapter", "--model", model, ...front.split(" "), ...engine.split(" ")];
  });
}
