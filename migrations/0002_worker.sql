-- What the worker adds: its own columns on the public tables, its own tables, and the indexes of the claim.
-- Every column has a default or may be NULL, so that an application that does not know them can still insert.

ALTER TABLE task_templates ADD COLUMN prompt TEXT NOT NULL DEFAULT '';
ALTER TABLE task_templates ADD COLUMN input_schema TEXT;
ALTER TABLE task_templates ADD COLUMN output_schema TEXT;
ALTER TABLE task_templates ADD COLUMN route TEXT;
ALTER TABLE task_templates ADD COLUMN limits TEXT;
ALTER TABLE task_templates ADD COLUMN version INTEGER NOT NULL DEFAULT 0;

ALTER TABLE tasks ADD COLUMN organization_id INTEGER;
ALTER TABLE tasks ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN run_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN blocked_by TEXT;
ALTER TABLE tasks ADD COLUMN needs_micro INTEGER;
ALTER TABLE tasks ADD COLUMN boost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN rank INTEGER GENERATED ALWAYS AS (max(0, CASE priority WHEN 'urgent' THEN 0 WHEN 'high' THEN 1 WHEN 'low' THEN 3 ELSE 2 END - boost)) VIRTUAL;
ALTER TABLE tasks ADD COLUMN raise_at_ms INTEGER;
ALTER TABLE tasks ADD COLUMN deadline_ms INTEGER;
ALTER TABLE tasks ADD COLUMN lease TEXT;
ALTER TABLE tasks ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN stage INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN candidate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN repairs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN redos INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN replaces INTEGER;
ALTER TABLE tasks ADD COLUMN input_from INTEGER;
ALTER TABLE tasks ADD COLUMN feedback TEXT;
ALTER TABLE tasks ADD COLUMN last_execution INTEGER;
ALTER TABLE tasks ADD COLUMN reason TEXT;
ALTER TABLE tasks ADD COLUMN input TEXT;
ALTER TABLE tasks ADD COLUMN idempotency_key TEXT;
ALTER TABLE tasks ADD COLUMN retry_of INTEGER;

ALTER TABLE task_executions ADD COLUMN profile TEXT;
ALTER TABLE task_executions ADD COLUMN stage INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_executions ADD COLUMN candidate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_executions ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_executions ADD COLUMN lease TEXT;
ALTER TABLE task_executions ADD COLUMN started_ms INTEGER;
ALTER TABLE task_executions ADD COLUMN reserved_micro INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_executions ADD COLUMN budgets TEXT;
ALTER TABLE task_executions ADD COLUMN cost_micro INTEGER;
ALTER TABLE task_executions ADD COLUMN cost_source TEXT;
ALTER TABLE task_executions ADD COLUMN usage TEXT;
ALTER TABLE task_executions ADD COLUMN result_key TEXT;
ALTER TABLE task_executions ADD COLUMN external_id TEXT;
ALTER TABLE task_executions ADD COLUMN assigned_to INTEGER;
ALTER TABLE task_executions ADD COLUMN wake_at_ms INTEGER;
ALTER TABLE task_executions ADD COLUMN follow_ups NOT NULL DEFAULT 0;
ALTER TABLE task_executions ADD COLUMN resolve_by_ms INTEGER;
ALTER TABLE task_executions ADD COLUMN reason TEXT;
ALTER TABLE task_executions ADD COLUMN note TEXT;

-- One row for each claimed batch; deleted after publishing, so that an expired row names all there is to repair.
CREATE TABLE leases (
  token TEXT PRIMARY KEY,
  until_ms INTEGER NOT NULL,
  task_ids TEXT NOT NULL
) WITHOUT ROWID;

-- AUTOINCREMENT: executions name the periods of a budget by its id, which no later budget may have.
CREATE TABLE budgets (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  organization_id INTEGER NOT NULL,
  scope TEXT NOT NULL CHECK (scope IN ('organization', 'template', 'task')),
  scope_id INTEGER NOT NULL,
  period TEXT NOT NULL CHECK (period IN ('day', 'month', 'total')),
  cap_micro INTEGER NOT NULL CHECK (cap_micro >= 0),
  refused TEXT NOT NULL DEFAULT 'wait' CHECK (refused IN ('wait', 'fail')),
  UNIQUE (scope, scope_id, period)
);

-- Counters, kept by the triggers of 0003 from what stands on the executions.
CREATE TABLE budget_periods (
  id TEXT PRIMARY KEY,
  budget_id INTEGER NOT NULL REFERENCES budgets(id) ON DELETE CASCADE,
  starts_ms INTEGER NOT NULL,
  ends_ms INTEGER NOT NULL,
  spent_micro INTEGER NOT NULL DEFAULT 0,
  reserved_micro INTEGER NOT NULL DEFAULT 0,
  alerted_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX budget_periods_current ON budget_periods (ends_ms);
CREATE INDEX budget_periods_budget ON budget_periods (budget_id, ends_ms);

-- While this holds a row, nothing is claimed and no execution begins.
CREATE TABLE stops (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  at_ms INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT NOT NULL
);

-- Effects outside that must happen though the process that caused them is gone: a status to publish, events that came
-- while what they tell of was being ended.  A row is its holder's, who is about to act on it and may be slow: whoever
-- wants the same meanwhile has a row of their own, and takes nobody's away.  '' is nobody.
CREATE TABLE outbox (
  kind TEXT NOT NULL CHECK (kind IN ('publish', 'webhook')),
  task_id INTEGER NOT NULL,
  holder TEXT NOT NULL DEFAULT '',
  due_ms INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, task_id, holder)
) WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (due_ms);

CREATE TABLE webhooks (
  profile TEXT NOT NULL,
  event_id TEXT NOT NULL,
  execution_id INTEGER,
  external_id TEXT,
  received_ms INTEGER NOT NULL,
  handled_ms INTEGER,
  body TEXT NOT NULL,
  PRIMARY KEY (profile, event_id)
) WITHOUT ROWID;
CREATE INDEX webhooks_execution ON webhooks (execution_id) WHERE handled_ms IS NULL AND execution_id IS NOT NULL;
CREATE INDEX webhooks_external ON webhooks (profile, external_id) WHERE handled_ms IS NULL AND external_id IS NOT NULL;

CREATE TABLE dead_letters (
  message_id TEXT PRIMARY KEY,
  received_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  body TEXT NOT NULL
) WITHOUT ROWID;

-- What executions cannot show: cancel, retry, foreign edit, operator action, budget change.
CREATE TABLE audit_log (
  id INTEGER PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  organization_id INTEGER,
  task_id INTEGER,
  actor TEXT NOT NULL,
  event TEXT NOT NULL,
  detail TEXT
);
CREATE INDEX audit_log_task ON audit_log (task_id) WHERE task_id IS NOT NULL;

CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  hash TEXT NOT NULL,
  organization_id INTEGER,
  role TEXT NOT NULL CHECK (role IN ('reader', 'member', 'admin', 'operator')),
  created_ms INTEGER NOT NULL,
  revoked_ms INTEGER
) WITHOUT ROWID;

CREATE INDEX templates_organization ON task_templates (organization_id, name);
CREATE INDEX tasks_due ON tasks (rank, run_at_ms, id) WHERE status = 'pending';
CREATE INDEX tasks_organization_due ON tasks (organization_id, rank, run_at_ms, id) WHERE status = 'pending';
CREATE INDEX tasks_blocked ON tasks (blocked_by, rank, run_at_ms, id) WHERE status = 'pending' AND blocked_by IS NOT NULL;
CREATE INDEX tasks_raise ON tasks (raise_at_ms) WHERE status = 'pending' AND raise_at_ms IS NOT NULL;
CREATE INDEX tasks_deadline ON tasks (deadline_ms) WHERE status IN ('pending', 'running', 'waiting') AND deadline_ms IS NOT NULL;
CREATE UNIQUE INDEX tasks_idempotency ON tasks (organization_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_organization ON tasks (organization_id, id);
-- Statements that come by another way write `+status`, which keeps them off this index: to statistics that were taken
-- while nothing was open it looks empty.
CREATE INDEX executions_wake ON task_executions (wake_at_ms) WHERE status IN ('waiting', 'unknown');
CREATE INDEX executions_external ON task_executions (profile, external_id) WHERE external_id IS NOT NULL;

-- Rows older than the installation wait until an operator adopts them, whatever another application does to them.
UPDATE tasks SET organization_id = COALESCE(
  (SELECT organization_id FROM task_templates WHERE id = tasks.template_id),
  (SELECT organization_id FROM users WHERE id = tasks.created_by));
UPDATE tasks SET run_at_ms = 9007199254740990, blocked_by = 'adopt' WHERE status NOT IN ('completed', 'failed', 'cancelled');
