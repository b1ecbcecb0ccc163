// What Pyodide expects of a browser and workerd does not have.  Must be imported before Pyodide.
import { env } from "cloudflare:workers";

// With these three gone or in place Pyodide recognises neither a browser page nor Node.
delete globalThis.process;
globalThis.location = "http://pyodide.invalid/";
globalThis.addEventListener = () => {};

// Pyodide would run the callbacks of all requests from one shared channel, each in the context of whichever
// request is up.  On Cloudflare it finds no such class, and every callback is a timer of its own request.
const RealMessageChannel = globalThis.MessageChannel;
globalThis.MessageChannel = undefined;
export function pyodideIsLoaded() {
  globalThis.MessageChannel = RealMessageChannel;
}

// workerd forbids compiling WebAssembly at run time; Miniflare's test-only binding allows it.
// Python's compiled extension modules (pydantic_core) are loaded through it.
const RealModule = WebAssembly.Module;
const realInstantiate = WebAssembly.instantiate;

function compile(bytes) {
  return env.UNSAFE_EVAL.newWasmModule(bytes);
}

function Module(bytes) {
  return compile(bytes);
}
Module.prototype = RealModule.prototype; // keeps `instanceof WebAssembly.Module` true
for (const name of ["customSections", "exports", "imports"]) Module[name] = RealModule[name];

WebAssembly.Module = Module;
WebAssembly.compile = async (bytes) => compile(bytes);
WebAssembly.instantiate = async (source, imports) => {
  if (source instanceof RealModule) return realInstantiate.call(WebAssembly, source, imports);
  const module = compile(source);
  return { module, instance: new WebAssembly.Instance(module, imports) };
};
