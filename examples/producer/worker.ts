// The web application's side, as small as it can be.  Who may ask for what is the application's own business.
import type { Env } from "./env.ts";
import { liveStatus, taskResult } from "./read.ts";
import { cancel, type NewTask, type NewTaskWithInput, Refused, submit, submitWithInput } from "./submit.ts";

export default {
  async fetch(request, env): Promise<Response> {
    const url = new URL(request.url);
    const [, collection, number, view] = url.pathname.split("/");
    if (collection !== "tasks") return problem(404);
    if (number === undefined) {
      if (request.method !== "POST") return problem(405);
      return await add(env, await request.json<NewTask | NewTaskWithInput>());
    }
    const id = Number(number);
    if (!Number.isSafeInteger(id)) return problem(404);
    if (request.method === "DELETE") return Response.json({ cancelled: await cancel(env, id) });
    if (view === "status") {
      return Response.json(await liveStatus(env, id, Number(url.searchParams.get("seen") ?? -1)));
    }
    const found = await taskResult(env, id);
    return found === undefined ? problem(404) : Response.json(found);
  },
} satisfies ExportedHandler<Env>;

async function add(env: Env, task: NewTask | NewTaskWithInput): Promise<Response> {
  try {
    const id = "input" in task ? await submitWithInput(env, task) : await submit(env, task);
    return Response.json({ id }, { status: 201 });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return new Response(error.problem, { status: error.status, headers: { "content-type": "application/problem+json" } });
  }
}

function problem(status: number): Response {
  return Response.json({ status }, { status });
}
