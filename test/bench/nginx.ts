import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { answer, modelList, plainModel } from "./mock-answer.ts";
import { end, freePort, listening, type Measured, root, spawnOn } from "./processes.ts";

const run = promisify(execFile);

/** Debian's package is unpacked here, and not installed: nothing listens on port 80 afterwards. */
const unpacked = join(root, ".cache/bench/nginx");

/** An upstream for answers in one piece that is not ours. Throws where there is no nginx and none can be had. */
export async function startNginx(): Promise<Measured> {
  const program = await nginxProgram();
  await using resources = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "weir-nginx-"));
  resources.defer(() => rm(folder, { recursive: true, force: true }));
  const port = await freePort();
  await writeFile(join(folder, "nginx.conf"), configFor(folder, port));
  const child = spawnOn("others", [program, "-p", folder, "-e", "/dev/null", "-c", join(folder, "nginx.conf")]);
  resources.defer(() => end(child));
  await listening(child, port);
  const running = resources.move();
  return {
    pid: child.pid ?? 0,
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/** The machine's own, or one unpacked by an earlier run, or by this one. */
async function nginxProgram(): Promise<string> {
  const own = ["/usr/sbin/nginx", "/usr/bin/nginx", join(unpacked, "usr/sbin/nginx")].find((file) => existsSync(file));
  return own ?? unpack();
}

async function unpack(): Promise<string> {
  await mkdir(unpacked, { recursive: true });
  const download = () => run("apt-get", ["download", "nginx"], { cwd: unpacked });
  await download().catch(async (error: unknown) => {
    // A fresh machine has no lists yet, and only root may fetch them.
    if (process.getuid?.() !== 0) throw error;
    await run("apt-get", ["update", "-qq"]);
    await download();
  });
  const archive = (await readdir(unpacked)).find((name) => name.endsWith(".deb")) ?? "";
  await run("dpkg", ["-x", archive, "."], { cwd: unpacked });
  const program = join(unpacked, "usr/sbin/nginx");
  await run(program, ["-v"]);
  return program;
}

/** One process, which says the same to everyone and never closes a connection by itself. */
function configFor(folder: string, port: number): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${folder}/${kind};`,
  );
  return `daemon off; master_process off; pid ${folder}/nginx.pid; error_log /dev/null;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; tcp_nodelay on;
  default_type application/json;
  ${temporary.join(" ")}
  server {
    listen 127.0.0.1:${port};
    location = /v1/models { return 200 '${modelList([plainModel])}'; }
    location = /v1/chat/completions { return 200 '${answer}'; }
    location / { return 404 '{}'; }
  }
}
`;
}
