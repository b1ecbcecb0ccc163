// Handing a task in, by SQL or through the API, and taking it back.
import { and, eq, inArray } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Env } from "./env.ts";
import { type Priority, tasks } from "./schema.ts";

export interface NewTask {
  /** How it is done: the template's route says by whom. */
  templateId: number;
  title: string;
  description?: string;
  priority?: Priority;
  /** ISO 8601 in UTC.  The task is taken earlier when this comes near. */
  dueDate?: string;
  /** The user who asks for it. */
  createdBy?: number;
}

/** Insert a task and say so.  Its input is `{title, description}`.  Returns its id. */
export async function submit(env: Env, task: NewTask): Promise<number> {
  const [made] = await drizzle(env.DB).insert(tasks).values(task).returning({ id: tasks.id });
  if (made === undefined) throw new Error("the insert returned no row");
  await ring(env, made.id);
  return made.id;
}

/** A task with an input of its own.  The names are those of the API: see /openapi.json of the worker. */
export interface NewTaskWithInput {
  /** A template's id or name. */
  template: number | string;
  title: string;
  input: Record<string, unknown>;
  description?: string;
  priority?: Priority;
  due_date?: string;
  /** ISO 8601 in UTC: do not start before. */
  run_at?: string;
  /** A second submission under the same key makes no second task: send it again when no answer came. */
  idempotency_key?: string;
}

/** The worker did not accept a task.  `problem` is its problem document (RFC 9457), JSON that names each wrong field. */
export class Refused extends Error {
  readonly status: number;
  readonly problem: string;

  constructor(status: number, problem: string) {
    super(`the task was refused with ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/**
 * Submit a task through the worker's API, which checks the input against the template's schema.  Returns its id.
 *
 * The worker rings its own queue, so no doorbell is needed.
 */
export async function submitWithInput(env: Env, task: NewTaskWithInput): Promise<number> {
  const request = new Request(`${env.BIZQ_URL ?? "https://tasks"}/v1/tasks`, {
    method: "POST",
    headers: { authorization: `Bearer ${env.BIZQ_KEY}`, "content-type": "application/json" },
    body: JSON.stringify(task),
  });
  const reply = await (env.BIZQ_URL === undefined ? env.TASKS.fetch(request) : fetch(request));
  if (!reply.ok) throw new Refused(reply.status, await reply.text());
  return (await reply.json<{ id: number }>()).id;
}

/** End a task, in any state.  False when it has ended already: the database keeps finished tasks as they are. */
export async function cancel(env: Env, id: number): Promise<boolean> {
  const open = and(eq(tasks.id, id), inArray(tasks.status, ["pending", "running", "waiting"]));
  const updatedAt = new Date().toISOString();
  const ended = await drizzle(env.DB)
    .update(tasks)
    .set({ status: "cancelled", updatedAt })
    .where(open)
    .returning({ id: tasks.id });
  if (ended.length > 0) await ring(env, id);
  return ended.length > 0;
}

/** A lost doorbell costs a minute, because the worker's cron finds the task itself.  So a failure here is no error. */
async function ring(env: Env, task: number): Promise<void> {
  try {
    await env.DOORBELLS.send({ v: 1, task });
  } catch (error) {
    console.warn(`the doorbell for task ${task} was not sent: ${error}`);
  }
}
