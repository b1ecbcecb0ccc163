-- The worker adds its own columns to the public tables, its own tables, and the indexes of its statements.
-- Every column may be NULL or has a default, so an application that does not know it can still insert rows.
--
-- Tables of the worker
--   leases           batches of tasks that a worker is working on
--   budgets          caps on money for an organization, a template or a task
--   budget_periods   the money that is spent and reserved in one period of a budget
--   ledger           the costs of executions that were deleted
--   stops            the switch of the operator that stops all spending
--   installation     the tasks that are older than the worker and not marked yet
--   rests            profiles that fail or are limited, and when they may be called again
--   heartbeats       when cron last worked
--   outbox           effects outside the database that are still to happen
--   webhooks         reports of providers, stored before they are handled
--   blob_parts       large texts for which the bucket was away
--   dead_letters     messages of the queue that cannot be handled
--   audit_log        changes by people and other applications that executions do not show
--   api_keys         who may use the API
--
-- The path of a task (all statements are in consumer/store)
--   1. An application inserts a task. It is pending, and due at run_at_ms.
--   2. A worker claims a batch of due tasks: it writes a row of leases that names them, and they become running.
--   3. The worker begins an execution for each: it inserts the intent, with the highest possible cost as a reservation
--      in every budget that applies. A budget without room keeps the intent out, and the task is pending again with
--      the budget in blocked_by. It is not due at any time: room in the budget makes it due.
--   4. The worker sends the call. It then settles the execution: result, cost and the next state of the task are
--      written in one batch. The task is now completed or failed, is due for its next stage or attempt, or is waiting.
--   5. A waiting task has an open execution: a job, a person, or a call whose outcome is unknown. At wake_at_ms of the
--      execution a worker follows it up, and the answer settles it. A webhook or the form of a person does so earlier.
--   6. The worker publishes the status of the task, and deletes the lease when all its tasks are published.
--   7. If a worker dies, its lease expires. The sweep finds the tasks in it: calls in flight become unknown, tasks
--      without a call become pending again.
--
-- Vocabulary (docs/glossary.md has all words)
--   intent        an execution that is written before its call is sent, so that no call is forgotten
--   reservation   the amount that an execution holds in its budgets until its cost is known
--   lease         the time for which a worker may work on tasks that it claimed
--   fence         the version of a task in the condition of a statement: if the task has moved on since the worker read
--                 it, the statement changes nothing
--   candidate     one way to do a stage of the route: a profile (an account with a provider) with settings
--   unknown       a call that may or may not have been made
--   wake time     the time of the next follow-up of an open execution
--
-- Units: *_ms are milliseconds since 1970 in UTC, *_micro are millionths of a US dollar.
-- 9007199254740990 stands for never.

-- --- how tasks of one kind are done -----------------------------------------------------------------------------------

-- The instructions for the model, with placeholders like {{title}}.
ALTER TABLE task_templates ADD COLUMN prompt TEXT NOT NULL DEFAULT '';
-- The JSON Schema that the input of a task must fit, NULL for any input.
ALTER TABLE task_templates ADD COLUMN input_schema TEXT;
-- The JSON Schema that an answer must fit.
ALTER TABLE task_templates ADD COLUMN output_schema TEXT;
-- The stages and their candidates, as JSON. Tasks of a template without a route wait (blocked_by).
ALTER TABLE task_templates ADD COLUMN route TEXT;
-- The limits for each task, as JSON: attempts, repairs, redos, times.
ALTER TABLE task_templates ADD COLUMN limits TEXT;
-- The number of times that the worker has written the template, 0 if another application made it.
ALTER TABLE task_templates ADD COLUMN version INTEGER NOT NULL DEFAULT 0;

-- --- the state of a task ----------------------------------------------------------------------------------------------

-- A random text. No other task has it, not even one that gets the same id after a restore or a deletion. What leaves the
-- database under the id of a task carries it too: the keys that providers get, and the key of the live status.
ALTER TABLE tasks ADD COLUMN identity TEXT;
-- The organization that owns the task. Without one it waits (blocked_by).
ALTER TABLE tasks ADD COLUMN organization_id INTEGER;
-- The fence: goes up by one with every move of the task.
ALTER TABLE tasks ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
-- The time from which a pending task is due.
ALTER TABLE tasks ADD COLUMN run_at_ms INTEGER NOT NULL DEFAULT 0;
-- The reason why a pending task is not due, such as no_organization, no_route:7, budget:1 (the tenant's budget 1) or
-- budget:operator:2. A budget keeps its name here while the task that it has woken waits for its claim.
ALTER TABLE tasks ADD COLUMN blocked_by TEXT;
-- The room that the task needed when a budget refused it, NULL when this may have changed since.
ALTER TABLE tasks ADD COLUMN needs_micro INTEGER;
-- 1 after the task was raised by one rank, which happens once: near its due date, or after a long wait.
ALTER TABLE tasks ADD COLUMN boost INTEGER NOT NULL DEFAULT 0;
-- The priority as a number, 0 is first. SQLite computes it.
ALTER TABLE tasks ADD COLUMN rank INTEGER GENERATED ALWAYS AS (max(0, CASE priority WHEN 'urgent' THEN 0 WHEN 'high' THEN 1 WHEN 'low' THEN 3 ELSE 2 END - boost)) VIRTUAL;
-- The time at which the due date raises the task: three quarters of the time until the due date are over.
ALTER TABLE tasks ADD COLUMN raise_at_ms INTEGER;
-- The time at which the task fails if it is not done, from limits.task_s of its template.
ALTER TABLE tasks ADD COLUMN deadline_ms INTEGER;
-- The token of the lease under which the task is running.
ALTER TABLE tasks ADD COLUMN lease TEXT;
-- The version of the task when another application last changed a value that the worker had read before.
ALTER TABLE tasks ADD COLUMN edited_version INTEGER;
-- The leases that the task has lost since something was last settled. The third one fails it.
ALTER TABLE tasks ADD COLUMN lost_leases INTEGER NOT NULL DEFAULT 0;
-- The stage of the route, counted from 0.
ALTER TABLE tasks ADD COLUMN stage INTEGER NOT NULL DEFAULT 0;
-- The candidate of the stage, counted from 0.
ALTER TABLE tasks ADD COLUMN candidate INTEGER NOT NULL DEFAULT 0;
-- The attempt with this candidate, counted from 0.
ALTER TABLE tasks ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
-- The number of repairs: calls that were repeated because the answer did not fit the output schema.
ALTER TABLE tasks ADD COLUMN repairs INTEGER NOT NULL DEFAULT 0;
-- The number of redos: drafts that a reviewer sent back by one stage.
ALTER TABLE tasks ADD COLUMN redos INTEGER NOT NULL DEFAULT 0;
-- The open execution of unknown outcome that was repeated knowingly. It does not keep the next one from beginning.
ALTER TABLE tasks ADD COLUMN replaces INTEGER;
-- The execution whose result is the input of this stage. NULL in the first stage, until a reviewer sends a draft back
-- to it: then it is the execution that made this draft.
ALTER TABLE tasks ADD COLUMN input_from INTEGER;
-- The text about the last answer that the next call gets: why it did not fit, or the note of the reviewer.
ALTER TABLE tasks ADD COLUMN feedback TEXT;
-- The execution that was settled last. Its result is the result of a completed task.
ALTER TABLE tasks ADD COLUMN last_execution INTEGER;
-- The reason for the present state: why the task failed, was cancelled or waits.
ALTER TABLE tasks ADD COLUMN reason TEXT;
-- The input as JSON, NULL when it is title and description.
ALTER TABLE tasks ADD COLUMN input TEXT;
-- The key under which the task was submitted. The organization has no other task with it.
ALTER TABLE tasks ADD COLUMN idempotency_key TEXT;
-- The execution that may have begun in the time that a restore has removed: its call is looked up before it is repeated.
ALTER TABLE tasks ADD COLUMN restored INTEGER;
-- A short hash of each field that the caller submitted under its own key, as JSON. A repeated submission is compared with
-- it, because other applications may have edited the task since. NULL for a generated key.
ALTER TABLE tasks ADD COLUMN submitted TEXT;
-- The finished task that this one retries.
ALTER TABLE tasks ADD COLUMN retry_of INTEGER;

-- --- one attempt ------------------------------------------------------------------------------------------------------

-- The profile that was called: the account with the provider.
ALTER TABLE task_executions ADD COLUMN profile TEXT;
-- The stage, the candidate and the attempt of the task when the execution began.
ALTER TABLE task_executions ADD COLUMN stage INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_executions ADD COLUMN candidate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_executions ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
-- The lease under which the execution began. It shows a worker which intents are its own. It is random, so it also tells
-- this execution from one that had its id before a restore or a deletion: links and callback addresses carry a part of it.
ALTER TABLE task_executions ADD COLUMN lease TEXT;
-- The time when the intent was written. Prices and budget periods of this time apply.
ALTER TABLE task_executions ADD COLUMN started_ms INTEGER;
-- The reservation: the highest cost that the call can have.
ALTER TABLE task_executions ADD COLUMN reserved_micro INTEGER NOT NULL DEFAULT 0;
-- The budget periods that the reservation and later the cost count in, as a JSON list of their ids.
ALTER TABLE task_executions ADD COLUMN budgets TEXT;
-- The cost, NULL while it is unknown. Zero means that the call was free.
ALTER TABLE task_executions ADD COLUMN cost_micro INTEGER;
-- The source of the cost: provider, declared (the price in the profile), price_book, bound (the reservation stands for an
-- unknown cost) or none (the provider charged nothing, because it refused the call or never got it).
ALTER TABLE task_executions ADD COLUMN cost_source TEXT;
-- The tokens or units that the call consumed, as JSON, with the numbers of the provider.
ALTER TABLE task_executions ADD COLUMN usage TEXT;
-- The key of a result that is too large for the row, in the bucket.
ALTER TABLE task_executions ADD COLUMN result_key TEXT;
-- The id that the provider gave to a job that it accepted.
ALTER TABLE task_executions ADD COLUMN external_id TEXT;
-- The user who is asked, NULL when every user of the organization may answer.
ALTER TABLE task_executions ADD COLUMN assigned_to INTEGER;
-- The time of the next follow-up of an open execution, -1 while a lease holds it, NULL after its end.
ALTER TABLE task_executions ADD COLUMN wake_at_ms INTEGER;
-- The follow-ups since the last one that its worker finished. One that is not finished may have killed its worker.
ALTER TABLE task_executions ADD COLUMN follow_ups INTEGER NOT NULL DEFAULT 0;
-- The time at which waiting ends: a waiting job becomes unknown, an unknown execution is ended.
ALTER TABLE task_executions ADD COLUMN resolve_by_ms INTEGER;
-- The reason for the present state, such as the error of the provider.
ALTER TABLE task_executions ADD COLUMN reason TEXT;
-- A note: that a person accepted the assignment, or that this is a late answer.
ALTER TABLE task_executions ADD COLUMN note TEXT;

-- --- tables of the worker ---------------------------------------------------------------------------------------------

-- Batches of claimed tasks. A row is deleted when its tasks are done and published. So an expired row names all tasks
-- that a lost worker may have left behind.
CREATE TABLE leases (
  -- A random text that the worker makes. A claim that is sent twice finds its first lease by it.
  token TEXT PRIMARY KEY,
  -- The time at which the lease expires, unless the worker renews it.
  until_ms INTEGER NOT NULL,
  -- The ids of the tasks, as a JSON list.
  task_ids TEXT NOT NULL
) WITHOUT ROWID;

-- Caps on money. AUTOINCREMENT, because executions name the periods of a budget by its id, which no later budget may get.
CREATE TABLE budgets (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- The organization that owns the budget.
  organization_id INTEGER NOT NULL,
  -- Whose limit it is. The operator's and the tenant's budgets both apply. No key of the tenant reads or writes those of
  -- the operator.
  tier TEXT NOT NULL DEFAULT 'tenant' CHECK (tier IN ('operator', 'tenant')),
  -- The kind of thing whose tasks count.
  scope TEXT NOT NULL CHECK (scope IN ('organization', 'template', 'task')),
  -- The id of this organization, template or task.
  scope_id INTEGER NOT NULL,
  -- The time after which the money is counted from zero again, in UTC. A total budget never starts again.
  period TEXT NOT NULL CHECK (period IN ('day', 'month', 'total')),
  -- The highest sum of spent and reserved money in one period.
  cap_micro INTEGER NOT NULL CHECK (cap_micro >= 0),
  -- The rule for a task that the budget refuses: it waits for room or for the next period, or it fails.
  refused TEXT NOT NULL DEFAULT 'wait' CHECK (refused IN ('wait', 'fail')),
  UNIQUE (scope, scope_id, period, tier)
);

-- The counters of budgets. The triggers of 0003 keep them equal to the sums over the executions that name the period,
-- and over those that were deleted.
CREATE TABLE budget_periods (
  -- The id of the budget and the period, such as 1:2030-03-01, 1:2030-03 or 1:total.
  id TEXT PRIMARY KEY,
  budget_id INTEGER NOT NULL REFERENCES budgets(id) ON DELETE CASCADE,
  -- The first millisecond of the period.
  starts_ms INTEGER NOT NULL,
  -- The first millisecond after the period.
  ends_ms INTEGER NOT NULL,
  -- The sum of the known costs, those of deleted executions too.
  spent_micro INTEGER NOT NULL DEFAULT 0,
  -- The sum of the reservations of executions whose cost is unknown.
  reserved_micro INTEGER NOT NULL DEFAULT 0,
  -- The part of spent_micro that deleted executions have cost.
  deleted_micro INTEGER NOT NULL DEFAULT 0,
  -- 0 once the task of the budget is finished. No sweep reads the period any more.
  open INTEGER NOT NULL DEFAULT 1,
  -- The time of the alert that the period is nearly full, NULL without an alert.
  alerted_ms INTEGER
) WITHOUT ROWID;
-- The sweep finds the current periods.
CREATE INDEX budget_periods_current ON budget_periods (ends_ms) WHERE open = 1;
-- A change of a budget finds its periods.
CREATE INDEX budget_periods_budget ON budget_periods (budget_id, ends_ms);

-- The costs of executions that were deleted. Triggers of 0003 fill it, so that deleting rows never lowers what was spent.
CREATE TABLE ledger (
  -- The task. Once it is deleted too: 0, and its organization and template stand in the next two columns, which are 0
  -- until then.
  task_id INTEGER NOT NULL,
  organization_id INTEGER NOT NULL,
  template_id INTEGER NOT NULL,
  profile TEXT NOT NULL,
  provider TEXT NOT NULL,
  -- The day on which the executions began, in UTC, such as 2030-03-01.
  day TEXT NOT NULL,
  -- The number of executions.
  executions INTEGER NOT NULL,
  -- The sum of their costs. An execution of unknown cost counts with its reservation.
  cost_micro INTEGER NOT NULL,
  -- The part of it that stands for unknown costs.
  bound_micro INTEGER NOT NULL,
  -- The part of it above the reservations under a budget.
  overrun_micro INTEGER NOT NULL,
  PRIMARY KEY (task_id, organization_id, template_id, profile, provider, day)
) WITHOUT ROWID;

-- The stop. While there is a row, no task is claimed and no execution begins.
CREATE TABLE stops (
  -- At most one row.
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at_ms INTEGER NOT NULL,
  -- The API key or the command of the operator who set the stop.
  actor TEXT NOT NULL,
  -- The reason that the operator gave.
  reason TEXT NOT NULL
);

-- The tasks that are older than the worker. Cron marks them in parts, because a statement on D1 may take 30 seconds at most.
-- The row is deleted when all are marked.
CREATE TABLE installation (
  -- At most one row.
  id INTEGER PRIMARY KEY CHECK (id = 1),
  -- The first task that is not marked yet.
  next_id INTEGER NOT NULL,
  -- The last task that is older than the worker.
  last_id INTEGER NOT NULL
);

-- Profiles that fail, that get too many calls, or that have limits of their own. A healthy profile without limits has no
-- row. A worker writes the next version of a row, and nothing if another worker wrote it first.
CREATE TABLE rests (
  -- The name of the profile.
  profile TEXT PRIMARY KEY,
  -- The number of times that the row was written.
  version INTEGER NOT NULL,
  -- A random text of the last write. An execution that needs it begins only if this write was applied.
  writer TEXT NOT NULL,
  -- The failures in a row.
  failures INTEGER NOT NULL,
  -- The rests in a row, 0 while the profile does not rest.
  level INTEGER NOT NULL,
  -- The refusals for too many calls in a row.
  limits INTEGER NOT NULL,
  -- The time when the last rest or wait began.
  began_ms INTEGER NOT NULL,
  -- The time before which no call begins.
  until_ms INTEGER NOT NULL,
  -- The code of the last failure.
  reason TEXT,
  -- The calls that count for the rate, as a JSON list of pairs of a time slot and a number.
  recent TEXT NOT NULL,
  -- The calls in flight that count for the concurrency, as a JSON object of runs.
  holders TEXT NOT NULL,
  -- A fingerprint of the account that the provider refused: the rest is over when the profile has another key. NULL for any
  -- other rest.
  account TEXT,
  -- The organizations whose calls failed in a row, as a JSON list. The profile rests for these.
  failing TEXT NOT NULL DEFAULT '[]',
  -- The time of the last write.
  changed_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- When something last happened that should happen all the time. The doctor reports it when it does not.
CREATE TABLE heartbeats (
  -- tick: the sweep, which cron starts once a minute.
  name TEXT PRIMARY KEY,
  at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Effects outside the database that must happen even if the process that caused them is gone. The holder is the process
-- that is acting on a row. Another process that requests the same effect at that time inserts a row of its own, and
-- deletes only that one, so a slow holder and a new request never cancel each other out.
CREATE TABLE outbox (
  -- publish: write the status of the task to KV. webhook: a webhook came while its execution was being ended, handle it.
  kind TEXT NOT NULL CHECK (kind IN ('publish', 'webhook')),
  task_id INTEGER NOT NULL,
  -- The token of the process that is acting on the row, empty while there is none.
  holder TEXT NOT NULL DEFAULT '',
  -- The time from which a worker may take the row.
  due_ms INTEGER NOT NULL,
  -- The number of times that a worker has taken the row.
  attempts INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, task_id, holder)
) WITHOUT ROWID;
-- The claim finds due rows.
CREATE INDEX outbox_due ON outbox (due_ms);

-- Webhooks of providers, stored before the provider gets its reply, so that none is lost.
CREATE TABLE webhooks (
  -- The profile whose signature the webhook carries.
  profile TEXT NOT NULL,
  -- The id that the provider gave to the event. A repeated event has the same one and is stored once.
  event_id TEXT NOT NULL,
  -- The execution that the address of the webhook names.
  execution_id INTEGER,
  -- The id of the job, where the webhook names no execution.
  external_id TEXT,
  received_ms INTEGER NOT NULL,
  -- The time when a worker handled the webhook, NULL until then.
  handled_ms INTEGER,
  -- The body as it was received; empty if it is too large for a row.
  body TEXT NOT NULL,
  -- The key of such a body in the bucket.
  body_key TEXT,
  PRIMARY KEY (profile, event_id)
) WITHOUT ROWID;
-- A follow-up finds unhandled webhooks of its execution, by the id of the execution or by the id of the job.
CREATE INDEX webhooks_execution ON webhooks (execution_id) WHERE handled_ms IS NULL AND execution_id IS NOT NULL;
CREATE INDEX webhooks_external ON webhooks (profile, external_id) WHERE handled_ms IS NULL AND external_id IS NOT NULL;

-- Large texts that could not be written to the bucket while it was away, in parts that a row can hold. A reader reads
-- the bucket first.
CREATE TABLE blob_parts (
  -- The key that the bucket would have had, such as results/7-0123456789abcdef.
  key TEXT NOT NULL,
  -- The number of the part, from 0.
  part INTEGER NOT NULL,
  -- The part of the text.
  data TEXT NOT NULL,
  PRIMARY KEY (key, part)
) WITHOUT ROWID;

-- Messages that are not doorbells, or that were delivered too often. They hold no work.
CREATE TABLE dead_letters (
  -- The id that the queue gave to the message.
  message_id TEXT PRIMARY KEY,
  received_ms INTEGER NOT NULL,
  -- Why the message cannot be handled.
  reason TEXT NOT NULL,
  -- The message as it was received.
  body TEXT NOT NULL
) WITHOUT ROWID;

-- Changes that executions do not show: a cancel, a release, a bulk action, a change of status by another application, a
-- change of a budget, a stop and its end, an alert; which person answered or reviewed; and an answer that came after another
-- person's.
CREATE TABLE audit_log (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  organization_id INTEGER,
  -- The task that was changed, NULL when the change is about no single task.
  task_id INTEGER,
  -- The API key, the command, the worker, or another application.
  actor TEXT NOT NULL,
  -- The action, in a word or two.
  event TEXT NOT NULL,
  -- The change, in words for people.
  detail TEXT
);
-- The API finds the changes of one task.
CREATE INDEX audit_log_task ON audit_log (task_id) WHERE task_id IS NOT NULL;

-- Keys of callers of the API. Only the hash of a secret is stored.
CREATE TABLE api_keys (
  -- The part of the key before its secret.
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL,
  -- The organization whose rows the key opens, NULL for an operator, who works for all.
  organization_id INTEGER,
  role TEXT NOT NULL CHECK (role IN ('reader', 'member', 'admin', 'operator')),
  created_ms INTEGER NOT NULL,
  -- The time when the key was revoked, NULL while it works.
  revoked_ms INTEGER
) WITHOUT ROWID;

-- --- indexes on the public tables -------------------------------------------------------------------------------------
-- Each one is partial where it can be, so that it holds only the rows that are still open and stays small.

-- The API finds templates by name.
CREATE INDEX templates_organization ON task_templates (organization_id, name);
-- The claim reads the first due tasks of each rank.
CREATE INDEX tasks_due ON tasks (rank, run_at_ms, id) WHERE status = 'pending';
-- The claim reads the first due tasks of one organization, and steps from one organization to the next.
CREATE INDEX tasks_organization_due ON tasks (organization_id, rank, run_at_ms, id) WHERE status = 'pending';
-- The first tasks that one budget blocks are found, when it has room.
CREATE INDEX tasks_blocked ON tasks (blocked_by, rank, run_at_ms, id) WHERE status = 'pending' AND blocked_by IS NOT NULL;
-- So are those that need the least room, behind any number of tasks that need more.
CREATE INDEX tasks_needs ON tasks (blocked_by, needs_micro) WHERE status = 'pending' AND blocked_by IS NOT NULL AND run_at_ms = 9007199254740990;
-- The sweep finds tasks that their due date raises.
CREATE INDEX tasks_raise ON tasks (raise_at_ms) WHERE status = 'pending' AND raise_at_ms IS NOT NULL;
-- The sweep finds overdue tasks.
CREATE INDEX tasks_deadline ON tasks (deadline_ms) WHERE status IN ('pending', 'running', 'waiting') AND deadline_ms IS NOT NULL;
-- The sweep finds tasks that another application has set to running.
CREATE INDEX tasks_taken ON tasks (run_at_ms) WHERE status = 'running' AND lease IS NULL;
-- A task that is submitted twice under one key is inserted once.
CREATE UNIQUE INDEX tasks_idempotency ON tasks (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- The API lists the tasks of an organization, the newest first.
CREATE INDEX tasks_organization ON tasks (organization_id, id);
-- The inbox reads the waiting tasks of one organization, in their order.
CREATE INDEX tasks_organization_waiting ON tasks (organization_id, rank, id) WHERE status = 'waiting';
-- Finding organizations by name, and users by address, without reading those of others.
CREATE INDEX organizations_name ON organizations (name);
CREATE INDEX users_address ON users (organization_id, email COLLATE NOCASE);
-- The claim finds open executions that are due for a follow-up. A statement that finds executions by their ids writes
-- +status, which keeps SQLite from using this index instead: statistics that were taken while no execution was open
-- make the index look empty.
CREATE INDEX executions_wake ON task_executions (wake_at_ms) WHERE status IN ('waiting', 'unknown');
-- A webhook finds its execution by the id of the job.
CREATE INDEX executions_external ON task_executions (profile, external_id) WHERE external_id IS NOT NULL;
