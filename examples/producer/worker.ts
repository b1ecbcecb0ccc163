// The web application's side, as small as it can be.  Who may ask for what is the application's own business.
import type { Env } from "./env.ts";
import { liveStatus, outcome } from "./read.ts";
import { cancel, type NewTask, submit } from "./submit.ts";

export default {
  async fetch(request, env): Promise<Response> {
    const url = new URL(request.url);
    const [, collection, number, view] = url.pathname.split("/");
    if (collection !== "tasks") return problem(404);
    if (number === undefined) {
      if (request.method !== "POST") return problem(405);
      return Response.json({ id: await submit(env, await request.json<NewTask>()) }, { status: 201 });
    }
    const id = Number(number);
    if (!Number.isSafeInteger(id)) return problem(404);
    if (request.method === "DELETE") return Response.json({ cancelled: await cancel(env, id) });
    if (view === "status") {
      return Response.json(await liveStatus(env, id, Number(url.searchParams.get("seen") ?? -1)));
    }
    const found = await outcome(env, id);
    return found === undefined ? problem(404) : Response.json(found);
  },
} satisfies ExportedHandler<Env>;

function problem(status: number): Response {
  return Response.json({ status }, { status });
}
