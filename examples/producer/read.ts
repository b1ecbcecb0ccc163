// Reading a task: its live status, which is cheap and may be late, and its result, which is the truth.
import { desc, eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import type { Env } from "./env.ts";
import { type TaskState, taskExecutions, tasks } from "./schema.ts";

/** The snapshot that the worker publishes in KV. */
export interface LiveStatus {
  task: number;
  /** Tells the task from one that had its id before a restore or a deletion. */
  identity: string;
  organization: number | null;
  status: TaskState;
  /** Goes up by one with every change of the task. */
  version: number;
  /** Which stage of the route it is at, from 0. */
  stage: number;
  /** The account with a provider that the latest execution used. */
  profile: string | null;
  /** The name of that account's adapter. */
  provider: string | null;
  attempt: number;
  /** The cost of all its executions so far, in millionths of a dollar; null when none has a known price yet. */
  cost_micro: number | null;
  /** Why it waits, or why it ended. */
  reason: string | null;
  updated_at: string;
}

/**
 * The live status; null when there is none newer than `seen`, the version that the caller has already shown.
 *
 * KV is read near the user and may answer with a copy from a minute ago: without `seen`, a task that was shown as
 * completed could turn back to running.  A task has no live status at all until it has run for a second or has ended.
 * The key has the random identity of the task, which never changes: an application may store it beside the id.
 */
export async function liveStatus(env: Env, id: number, seen = -1): Promise<LiveStatus | null> {
  const identity = await env.DB.prepare("SELECT identity FROM tasks WHERE id = ?1").bind(id).first<string>("identity");
  if (identity === null) return null;
  const found = await env.STATUS.get<LiveStatus>(`status:${id}:${identity}`, { type: "json", cacheTtl: 30 });
  return found !== null && found.version > seen ? found : null;
}

export interface TaskResult {
  status: TaskState;
  /** The answer of the last stage; null unless the task is completed. */
  answer: unknown;
  /** Dollars, all attempts together, the failed ones too. */
  cost: number;
  /** The cost of some attempt is not known, or not known yet. */
  costIsPartial: boolean;
}

/** The state and the answer of a task; undefined when there is no such task. */
export async function taskResult(env: Env, id: number): Promise<TaskResult | undefined> {
  const db = drizzle(env.DB);
  const [found, attempts] = await db.batch([
    db.select({ status: tasks.status }).from(tasks).where(eq(tasks.id, id)),
    db.select().from(taskExecutions).where(eq(taskExecutions.taskId, id)).orderBy(desc(taskExecutions.id)),
  ]);
  const [task] = found;
  if (task === undefined) return undefined;
  // Every stage has one succeeded execution; the newest is the last stage's.
  const last = task.status === "completed" ? attempts.find((attempt) => attempt.status === "succeeded") : undefined;
  return {
    status: task.status,
    answer: last === undefined ? null : (last.result ?? (await large(env, last.id))),
    cost: attempts.reduce((sum, attempt) => sum + (attempt.cost ?? 0), 0),
    costIsPartial: attempts.some((attempt) => attempt.cost === null),
  };
}

/** A result of more than 64 KB is not in its row but in R2, under the key that the worker left beside it. */
async function large(env: Env, execution: number): Promise<unknown> {
  const named = await env.DB.prepare("SELECT result_key FROM task_executions WHERE id = ?1").bind(execution).first<string>("result_key");
  const stored = named === null ? null : await env.BLOBS.get(named);
  return stored === null ? null : await stored.json();
}
