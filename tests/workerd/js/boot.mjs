// The worker that workerd runs: it loads Pyodide and hands every event to the project's `worker.Default`,
// in the way Cloudflare's own Python entry point does.  Requests for `lab.invalid` drive the test harness.
import { pyodideIsLoaded } from "./shim.mjs"; // first
import * as workers from "cloudflare:workers";
import * as sockets from "cloudflare:sockets";
import { loadPyodide } from "./pyodide.mjs";
import createPyodideModule from "./pyodide.asm.mjs";
import pyodideWasm from "./pyodide.asm.wasm";
import stdlib from "./python_stdlib.zip";
import site from "./site.zip";
import source from "./source.zip";
import lab from "./lab.zip";
import settings from "./settings.txt";
import * as meter from "./meter.mjs";

const { mainModule, lockInfo, watchImports } = JSON.parse(settings);

// What Cloudflare's SDK asks of the compatibility date; both are on since February 2026.
const COMPATIBILITY_FLAGS = { python_request_headers_preserve_commas: true, python_workflows_implicit_dependencies: true };

// The same paths as on Cloudflare: the project, then its vendored packages.
const PROJECT = "/session/metadata";
const PACKAGES = `${PROJECT}/python_modules`;
const LAB = "/lab";

let pyodide;
let main;
let entry;
const times = {};
const entropyCallers = [];
const networkCallers = [];

// Loads Pyodide from the worker's own modules: nothing is downloaded, although it believes so.
async function loadFromModules() {
  const realFetch = globalThis.fetch;
  const realStreaming = WebAssembly.instantiateStreaming;
  globalThis.fetch = async (url) => {
    if (String(url).endsWith("python_stdlib.zip")) return new Response(stdlib);
    if (String(url).endsWith("pyodide.asm.wasm")) return new Response();
    throw new Error(`Pyodide asked for ${url}`);
  };
  WebAssembly.instantiateStreaming = async (_response, imports) => ({
    module: pyodideWasm,
    instance: new WebAssembly.Instance(pyodideWasm, imports),
  });
  try {
    return await loadPyodide({
      createPyodideModule,
      indexURL: globalThis.location,
      packageBaseUrl: globalThis.location,
      env: { HOME: "/session", PYTHONHASHSEED: "111" }, // Cloudflare's: there is no randomness for hashes
      lockFileContents: { info: lockInfo, packages: {} },
      stdout: (line) => console.log(line),
      stderr: (line) => console.error(line),
    });
  } finally {
    globalThis.fetch = realFetch;
    WebAssembly.instantiateStreaming = realStreaming;
  }
}

function registerRuntimeModules() {
  pyodide.registerJsModule("_pyodide_entrypoint_helper", {
    doAnImport: (name) => import(name),
    cloudflareWorkersModule: workers,
    cloudflareSocketsModule: sockets,
    workerEntrypoint: workers.WorkerEntrypoint,
    patchWaitUntil,
  });
  pyodide.registerJsModule("_cloudflare_compat_flags", COMPATIBILITY_FLAGS);
}

// `ctx.waitUntil` is given Python awaitables, whose proxies die when the call returns unless copied.
const patched = new WeakSet();
function patchWaitUntil(ctx) {
  if (Object.prototype.toString.call(ctx) !== "[object ExecutionContext]" || patched.has(ctx)) return;
  const waitUntil = ctx.waitUntil.bind(ctx);
  ctx.waitUntil = (promise) => {
    const held = promise.copy ? promise.copy() : promise;
    waitUntil(Promise.resolve(held).finally(() => held.destroy?.()));
  };
  patched.add(ctx);
}

async function load() {
  pyodide = await loadFromModules();
  pyodideIsLoaded();
  await pyodide._api.initializeNodeSockFS?.(sockets.connect); // Python sockets over connect(), as in production
  registerRuntimeModules();
}

function unpack() {
  for (const [archive, directory] of [[site, PACKAGES], [source, PROJECT], [lab, LAB]]) {
    pyodide.FS.mkdirTree(directory);
    pyodide.unpackArchive(archive, "zip", { extractDir: directory });
  }
  const sys = pyodide.pyimport("sys");
  const at = sys.path.toJs().findIndex((path) => path.includes("site-packages"));
  sys.path.insert(at, PACKAGES);
  sys.path.insert(0, PROJECT);
  sys.path.append(LAB);
  pyodide.pyimport("importlib").invalidate_caches();
}

// On Cloudflare there is neither randomness nor network while the project is imported: each request is noted.
// See inside/importing.py, which also watches the clock, for that stands still.
async function importMain() {
  const imports = pyodide.pyimport("inside.importing");
  const restore = [
    spy(crypto, "getRandomValues", () => note(entropyCallers, imports.asked)),
    spy(globalThis, "fetch", () => note(networkCallers, imports.caller)),
    spy(globalThis, "WebSocket", () => note(networkCallers, imports.caller)),
  ];
  try {
    main = await imports.import_main.callWithOptions({ promising: true }, mainModule, PACKAGES, Boolean(watchImports));
  } finally {
    for (const undo of restore) undo();
  }
  if (entropyCallers.includes(HIDDEN)) throw new Error("randomness while the Worker is imported, which Cloudflare refuses");
  entry = pyodide.pyimport("inside.entry");
  meter.watchFetch();
}

// Replaces a function by one that calls `before` first; returns what undoes it.
function spy(object, name, before) {
  const real = object[name];
  object[name] = function (...args) { // a function, because WebSocket is constructed
    before();
    return real.apply(object, args);
  };
  return () => (object[name] = real);
}

const HIDDEN = "compiled code that has let go of Python";

function note(callers, ask) {
  try {
    callers.push(ask());
  } catch {
    callers.push(HIDDEN); // Python cannot be called from here, so its stack cannot be read
  }
}

// Everything happens in an event: global scope may neither draw random numbers nor do I/O.
const steps = [["load", load], ["unpack", unpack], ["import", importMain]];
let booting;
function boot() {
  booting ??= (async () => {
    for (const [name, step] of steps) {
      const start = performance.now();
      await step();
      times[name] = performance.now() - start;
    }
  })();
  return booting;
}

async function handle(name, ctx, env, args) {
  await boot();
  const counts = meter.newCounts(name, describeEvent(name, args[0]));
  if (name === "queue") {
    counts.messages = args[0].messages.length;
    counts.attempts = Math.max(...args[0].messages.map((message) => message.attempts));
  }
  return await meter.measure(counts, async () => {
    try {
      const instance = await main.Default.callWithOptions({ promising: true }, ctx, meter.metered(env, counts));
      return await entry.call.callWithOptions({ promising: true }, instance, name, ...args);
    } catch (error) {
      console.error(`${name} raised: ${error.message}`); // workerd itself says nothing of it
      throw error;
    } finally {
      counts.leftovers = entry.leftovers().toJs();
    }
  });
}

function describeEvent(name, subject) {
  if (name === "fetch") return `${subject.method} ${new URL(subject.url).pathname}`;
  return name === "queue" ? subject.queue : String(subject.cron);
}

export default class extends workers.WorkerEntrypoint {
  constructor(ctx, env) {
    super(ctx, env);
    const { UNSAFE_EVAL, ...bindings } = env; // the project sees production's bindings only
    return new Proxy(this, {
      get(target, name, receiver) {
        if (typeof name !== "string") return Reflect.get(target, name, receiver);
        return (...args) => {
          if (name === "fetch" && new URL(args[0].url).hostname === "lab.invalid") return command(args[0], bindings);
          return handle(name, ctx, bindings, args);
        };
      },
    });
  }

  // workerd looks for these names when it decides which events the worker takes; the proxy answers them.
  fetch() {}
  queue() {}
  scheduled() {}
}

// --- the harness's own commands -------------------------------------------------------------------

const commands = {
  async boot() {
    await boot();
    return info();
  },

  info,

  async d1(env, { binding, statements }) {
    const db = env[binding];
    const prepared = statements.map(({ sql, parameters }) => {
      const statement = db.prepare(sql);
      return parameters?.length ? statement.bind(...parameters) : statement;
    });
    return prepared.length === 1 ? [await prepared[0].all()] : await db.batch(prepared);
  },

  async kv(env, { binding, operation, key, value, options }) {
    const kv = env[binding];
    if (operation === "put") return await kv.put(key, value, options);
    if (operation === "get") return await kv.getWithMetadata(key);
    if (operation === "delete") return await kv.delete(key);
    return await kv.list(options);
  },

  async r2(env, { binding, operation, key, value }) {
    const bucket = env[binding];
    if (operation === "put") return describe(await bucket.put(key, decode(value)));
    if (operation === "delete") return await bucket.delete(key);
    if (operation === "list") return (await bucket.list()).objects.map(describe);
    const object = await bucket.get(key);
    return object && { ...describe(object), value: encode(await object.arrayBuffer()) };
  },

  async send(env, { binding, messages }) {
    return await env[binding].sendBatch(messages);
  },

  // What the events since the last call have used, one entry for each that has ended.
  meter: () => meter.drain(),

  faults: (_env, { faults }) => meter.setFaults(faults),

  // Runs a Python function of the lab, JSON text in and out.
  async python(_env, { module, function: name, argument }) {
    await boot();
    const target = pyodide.pyimport(module)[name];
    return JSON.parse(await target.callWithOptions({ promising: true }, JSON.stringify(argument ?? null)));
  },
};

function info() {
  const modules = pyodide ? pyodide.pyimport("sys").modules.keys() : [];
  return {
    version: pyodide?.version,
    heapBytes: pyodide?._module.HEAP8.length,
    times,
    entropyCallers,
    clockCallers: pyodide ? pyodide.pyimport("inside.importing").clock_callers.toJs() : [],
    networkCallers,
    modules: Array.from(modules).sort(),
  };
}

function describe(object) {
  return object && { key: object.key, size: object.size, etag: object.etag, uploaded: object.uploaded.toISOString() };
}

function decode(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function encode(buffer) {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text);
}

async function command(request, env) {
  const name = new URL(request.url).pathname.slice(1);
  try {
    const result = await commands[name](env, await request.json());
    return Response.json({ result: result ?? null });
  } catch (error) {
    return Response.json({ error: { name: error.name, message: error.message } });
  }
}
