// Counts what each event uses of the platform, and makes the platform fail on demand.  The project's code sees
// its bindings through these proxies and cannot tell: their names and results are the real ones.
import { AsyncLocalStorage } from "node:async_hooks";

const COUNTED = {
  KvNamespace: ["get", "getWithMetadata", "put", "delete", "list"],
  R2Bucket: ["head", "get", "put", "delete", "list"],
  WorkerQueue: ["send", "sendBatch"],
};

const finished = [];
let faults = [];
const current = new AsyncLocalStorage(); // the counts of the event that is up

// A fault: {binding, method, message, when: "before" | "after", match?: text in a statement, times?}.
export function setFaults(list) {
  faults = list.map((fault) => ({ ...fault, left: fault.times ?? Infinity }));
}

export function drain() {
  return finished.splice(0);
}

export function newCounts(event, detail) {
  return {
    event, detail, ms: 0, messages: 0, attempts: 0,
    trips: 0, statements: {}, parameters: 0, sqlBytes: 0, valueBytes: 0,
    operations: {}, sent: 0, fetches: 0, calls: 0, connections: 0, peakCalls: 0, peakConnections: 0, leftovers: [],
  };
}

// Runs an event, and keeps its counts when it has ended.
export async function measure(counts, act) {
  const began = performance.now();
  try {
    return await current.run(counts, act);
  } finally {
    counts.ms = performance.now() - began;
    finished.push(counts);
    if (finished.length > 50_000) finished.shift();
  }
}

// The environment of one event, whose use is written into its counts.
export function metered(bindings, counts) {
  return Object.fromEntries(Object.entries(bindings).map(([name, binding]) => [name, wrap(name, binding, counts)]));
}

function wrap(name, binding, counts) {
  const kind = binding?.constructor?.name;
  if (kind === "D1Database") return proxy(binding, { batch: (list) => batch(name, binding, list, counts) });
  const methods = (COUNTED[kind] ?? []).map((method) => [method, (...args) => operate(name, kind, binding, method, args, counts)]);
  return methods.length ? proxy(binding, Object.fromEntries(methods)) : binding;
}

function proxy(target, replaced) {
  return new Proxy(target, {
    get(object, property) {
      if (Object.hasOwn(replaced, property)) return replaced[property];
      const value = Reflect.get(object, property, object);
      return typeof value === "function" && property !== "constructor" ? value.bind(object) : value;
    },
  });
}

async function batch(name, database, list, counts) {
  const texts = list.map((one) => one.statement);
  counts.trips += 1;
  for (const one of list) {
    statementOf(counts, one.statement).count += 1;
    counts.parameters = Math.max(counts.parameters, one.params.length);
    counts.sqlBytes = Math.max(counts.sqlBytes, bytes(one.statement));
    for (const value of one.params) counts.valueBytes = Math.max(counts.valueBytes, bytes(value));
  }
  fail(name, "batch", texts.join("\n"), "before");
  const answers = await database.batch(list);
  answers.forEach(({ meta }, index) => {
    const known = statementOf(counts, texts[index]);
    known.read += meta.rows_read;
    known.written += meta.rows_written;
  });
  fail(name, "batch", texts.join("\n"), "after");
  return answers;
}

const statementOf = (counts, sql) => (counts.statements[sql] ??= { count: 0, read: 0, written: 0 });
const bytes = (value) => (typeof value === "string" ? new TextEncoder().encode(value).length : 0);

async function operate(name, kind, binding, method, args, counts) {
  const label = `${kind}.${method}`;
  counts.operations[label] = (counts.operations[label] ?? 0) + 1;
  if (kind === "WorkerQueue") counts.sent += method === "send" ? 1 : args[0].length;
  fail(name, method, String(args[0]), "before");
  const result = await connected(counts, false, () => binding[method](...args));
  fail(name, method, String(args[0]), "after");
  return result;
}

// A connection waits until there is an answer, which for `fetch` means its headers.
async function connected(counts, isCall, act) {
  if (!counts) return await act();
  counts.connections += 1;
  if (isCall) counts.calls += 1;
  counts.peakConnections = Math.max(counts.peakConnections, counts.connections);
  counts.peakCalls = Math.max(counts.peakCalls, counts.calls);
  try {
    return await act();
  } finally {
    counts.connections -= 1;
    if (isCall) counts.calls -= 1;
  }
}

function fail(binding, method, text, when) {
  const fits = (f) => f.left > 0 && f.binding === binding && f.method === method && (f.when ?? "before") === when && text.includes(f.match ?? "");
  const fault = faults.find(fits);
  if (!fault) return;
  fault.left -= 1;
  throw new Error(fault.message);
}

// `fetch` is global: the event that is up is the one that asks.
export function watchFetch() {
  const real = globalThis.fetch;
  globalThis.fetch = (...args) => {
    const counts = current.getStore();
    if (counts) counts.fetches += 1;
    return connected(counts, true, () => real(...args));
  };
}
