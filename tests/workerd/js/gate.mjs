// Stands between the worker's `fetch()` and the Node process, which would not learn that a URL was https.
export default {
  fetch(request, env) {
    const copy = new Request(request, { redirect: "manual" });
    copy.headers.set("x-original-url", request.url);
    return env.NODE.fetch(copy);
  },
};
