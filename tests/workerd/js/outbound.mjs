// What the worker's `fetch()` meets: programmable replies, and the loopback interface.  Nothing else is reachable.
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);

export class Outbound {
  rules = [];
  calls = [];

  // A rule: {method?, url (prefix), times?, and one of
  //   status/headers/body (base64) with optional delay (s before the headers) and bodyDelay (s between two halves),
  //   reset: "headers" | "body" (the connection breaks before or within), forward (another origin)}.
  set(rules) {
    this.rules = rules.map((rule) => ({ ...rule, left: rule.times ?? Infinity }));
  }

  async handle(request, response) {
    const url = request.headers["x-original-url"];
    const body = await read(request);
    this.calls.push({ method: request.method, url, headers: visible(request.headers), body: body.toString("base64") });
    const rule = this.rules.find((r) => r.left > 0 && url.startsWith(r.url) && (!r.method || r.method === request.method));
    if (rule) rule.left -= 1;
    if (rule && !rule.forward) return await play(rule, response);
    const target = rule ? new URL(rule.forward + url.slice(rule.url.length)) : new URL(url);
    if (!LOOPBACK.has(target.hostname)) return refuse(response, `no rule for ${request.method} ${url}`);
    forward(request, target, body, response);
  }
}

async function read(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

// Without what the way here has added.
function visible(headers) {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith("mf-") && name !== "x-original-url"));
}

function refuse(response, reason) {
  response.writeHead(599, { "content-type": "text/plain" }).end(reason);
}

async function play(rule, response) {
  const body = Buffer.from(rule.body ?? "", "base64");
  if (rule.delay) await sleep(rule.delay * 1000);
  if (rule.reset === "headers") return response.destroy();
  response.writeHead(rule.status ?? 200, rule.headers ?? {});
  if (!rule.reset && !rule.bodyDelay) return response.end(body);
  response.write(body.subarray(0, Math.ceil(body.length / 2)));
  await sleep((rule.bodyDelay ?? 0.05) * 1000);
  if (rule.reset === "body") return response.destroy();
  response.end(body.subarray(Math.ceil(body.length / 2)));
}

function forward(request, target, body, response) {
  const headers = { ...visible(request.headers), host: target.host };
  const call = http.request(target, { method: request.method, headers }, (reply) => {
    response.writeHead(reply.statusCode, reply.headers);
    reply.on("error", () => response.destroy());
    reply.pipe(response);
  });
  call.on("error", () => response.destroy());
  response.on("close", () => call.destroy());
  call.end(body);
}
