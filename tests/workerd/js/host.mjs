// Runs one Python Worker in workerd and takes commands: one JSON object a line on stdin, one reply a line on stdout.
//   -> {"id": 1, "command": "start", ...}   <- {"id": 1, "result": ...} or {"id": 1, "error": {"name", "message"}}
// It ends, and workerd with it, when stdin closes, so it also ends if the starting process is killed.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { Outbound } from "./outbound.mjs";

const HERE = import.meta.dirname;
const logs = [];
const outbound = new Outbound();
let miniflare;

console.log = console.error; // stdout is for replies

// Packages are looked up where the caller says, not beside this file.
async function load(nodeModules, name) {
  const require = createRequire(join(nodeModules, "_"));
  return await import(pathToFileURL(require.resolve(name)).href);
}

const text = async (directory, name) => await readFile(join(directory, name), "utf8");
const bytes = async (path) => new Uint8Array(await readFile(path));
const esm = async (directory, name) => ({ type: "esm", contents: await text(directory, name) });
const data = async (path) => ({ type: "data", contents: await bytes(path) });

async function modules({ nodeModules, archives, mainModule, watchImports }) {
  const pyodide = join(nodeModules, "pyodide");
  const lock = JSON.parse(await text(pyodide, "pyodide-lock.json"));
  const settings = { mainModule, watchImports, lockInfo: lock.info };
  return {
    "boot.mjs": await esm(HERE, "boot.mjs"),
    "shim.mjs": await esm(HERE, "shim.mjs"),
    "meter.mjs": await esm(HERE, "meter.mjs"),
    "pyodide.mjs": await esm(pyodide, "pyodide.mjs"),
    "pyodide.asm.mjs": await esm(pyodide, "pyodide.asm.mjs"),
    "pyodide.asm.wasm": { type: "wasm", contents: await bytes(join(pyodide, "pyodide.asm.wasm")) },
    "python_stdlib.zip": await data(join(pyodide, "python_stdlib.zip")),
    "site.zip": await data(archives.site),
    "source.zip": await data(archives.source),
    "lab.zip": await data(archives.lab),
    "settings.txt": { type: "text", contents: JSON.stringify(settings) },
  };
}

function keep(log, echo) {
  logs.push({ level: log.level, message: log.message, timestamp: log.timestamp });
  if (logs.length > 10_000) logs.shift();
  if (echo) process.stderr.write(`${log.message}\n`);
}

const commands = {
  // Options: nodeModules, archives {site, source, lab}, mainModule, compatibilityDate, env (Miniflare's bindings),
  // triggers, intercept, persist, port, cronEverySeconds, watchImports, echo.
  async start(options) {
    const { Miniflare, Log, LogLevel } = await load(options.nodeModules, "miniflare");
    const worker = {
      config: {
        name: "worker",
        compatibilityDate: options.compatibilityDate,
        manifest: { mainModule: "boot.mjs", modulesRoot: HERE, modules: await modules(options) },
        env: options.env,
        triggers: options.triggers,
      },
      dev: {
        rootPath: HERE,
        unsafeEvalBinding: "UNSAFE_EVAL",
        unsafeRegisterWorker: false,
        ...(options.intercept && { outboundService: { type: "worker", worker: "gate" } }),
      },
    };
    const gate = {
      config: {
        name: "gate",
        compatibilityDate: options.compatibilityDate,
        manifest: { mainModule: "gate.mjs", modulesRoot: HERE, modules: { "gate.mjs": await esm(HERE, "gate.mjs") } },
        env: { NODE: { type: "node-handler", handler: (request, response) => outbound.handle(request, response) } },
      },
      dev: { rootPath: HERE, unsafeRegisterWorker: false },
    };
    miniflare = new Miniflare({
      host: "127.0.0.1",
      port: options.port ?? 0,
      log: new Log(LogLevel.NONE),
      cf: false, // no attempt to fetch a sample of Cloudflare's request metadata
      enableDevRegistry: false,
      logRequests: false,
      handleStructuredLogs: (log) => keep(log, options.echo),
      ...(options.persist && { resourcePersistencePath: options.persist }),
      workers: options.intercept ? [worker, gate] : [worker],
    });
    const base = await miniflare.ready;
    const info = await lab({ name: "boot" });
    if (options.cronEverySeconds) every(options.cronEverySeconds, "* * * * *");
    return { ...info, url: base.href };
  },

  async fetch({ method, url, headers, body }) {
    const response = await miniflare.dispatchFetch(url, {
      method,
      headers,
      body: body && Buffer.from(body, "base64"),
      redirect: "manual",
      ...(body && { duplex: "half" }),
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    return { status: response.status, headers: [...response.headers], body: bytes.toString("base64") };
  },

  // Delivers one batch straight to the worker's `queue` handler and tells what it decided.
  async queue({ queue, messages }) {
    const worker = await miniflare.getWorker();
    const batch = messages.map((message) => ({ ...message, timestamp: new Date(message.timestamp) }));
    return await worker.queue(queue, batch);
  },

  async scheduled({ cron, scheduledTime }) {
    const worker = await miniflare.getWorker();
    return await worker.scheduled({ cron, scheduledTime: new Date(scheduledTime) });
  },

  lab,

  logs: () => logs.splice(0),
  rules: ({ rules }) => outbound.set(rules),
  calls: () => outbound.calls.splice(0),
  exit: () => end(0),
};

async function lab({ name, ...input }) {
  const response = await miniflare.dispatchFetch(`http://lab.invalid/${name}`, { method: "POST", body: JSON.stringify(input) });
  if (response.status !== 200) throw new Error(`the worker answered ${response.status}: ${await response.text()}`);
  const { result, error } = await response.json();
  if (error) throw Object.assign(new Error(error.message), { name: error.name });
  return result;
}

function every(seconds, cron) {
  setInterval(async () => {
    try {
      await commands.scheduled({ cron, scheduledTime: Date.now() });
    } catch (error) {
      process.stderr.write(`cron: ${error.message}\n`);
    }
  }, seconds * 1000);
}

let ending = false;
async function end(code) {
  if (ending) return;
  ending = true;
  await Promise.race([miniflare?.dispose(), new Promise((resolve) => setTimeout(resolve, 3000))]);
  process.exit(code);
}

function reply(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

async function answer(line) {
  const { id, command, ...input } = JSON.parse(line);
  try {
    reply({ id, result: (await commands[command](input)) ?? null });
  } catch (error) {
    reply({ id, error: { name: error?.name ?? "Error", message: String(error?.message ?? error) } });
  }
}

process.on("SIGTERM", () => end(0));
process.on("SIGINT", () => end(0));
createInterface({ input: process.stdin }).on("line", answer).on("close", () => end(0));
