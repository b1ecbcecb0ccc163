// Handing a task in, and taking it back.
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

/** Insert a task and say so.  Returns its id. */
export async function submit(env: Env, task: NewTask): Promise<number> {
  const [made] = await drizzle(env.DB).insert(tasks).values(task).returning({ id: tasks.id });
  if (made === undefined) throw new Error("the insert returned no row");
  await ring(env, made.id);
  return made.id;
}

/** End a task, whatever it does now.  False when it has ended already: the database keeps finished tasks as they are. */
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

/** A doorbell that gets lost costs a minute: the worker's cron looks for itself.  So a failure here is no error. */
async function ring(env: Env, task: number): Promise<void> {
  try {
    await env.DOORBELLS.send({ v: 1, task });
  } catch (error) {
    console.warn(`the doorbell for task ${task} was not sent: ${error}`);
  }
}
