-- Triggers: rules that hold for every writer, the worker and other applications.
--
--   states and finished rows   a status is one of the lifecycle, and a finished row does not change
--   executions of the worker   only the worker ends them, and ids of other applications never lie among theirs
--   budgets                    the hard limit: a reservation that does not fit keeps its execution out
--   other applications         a task that was inserted or edited by SQL gets all that the worker needs
--
-- An application developer reads the messages of RAISE(ABORT, ...). Each says what is refused and what to do instead.
--
-- Comments stand above a trigger and never inside it: the worker compares the text of each trigger with the expected
-- text, and some tools drop comments when they apply a migration.
--
-- Constants: 1099511627776 to 4503599627370495 are the ids of executions of the worker, 1024 ids for each task
-- (consumer/store/sql.py). 9007199254740990 is never. (julianday(x) - 2440587.5) * 86400000.0 is x in milliseconds.

-- --- states and finished rows -----------------------------------------------------------------------------------------

-- The status of a new task is one of the lifecycle.
CREATE TRIGGER tasks_state_insert BEFORE INSERT ON tasks
WHEN COALESCE(NEW.status, '') NOT IN ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled')
BEGIN
  SELECT RAISE(ABORT, 'tasks.status must be pending, running, waiting, completed, failed or cancelled');
END;

-- The same for a change. Another application may write a status again that was there before the worker.
CREATE TRIGGER tasks_state_update BEFORE UPDATE OF status ON tasks
WHEN COALESCE(NEW.status, '') NOT IN ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled') AND NEW.status IS NOT OLD.status
BEGIN
  SELECT RAISE(ABORT, 'tasks.status must be pending, running, waiting, completed, failed or cancelled');
END;

-- A finished task keeps its state, its result and its reason.
CREATE TRIGGER tasks_finished BEFORE UPDATE OF status, stage, last_execution, reason ON tasks
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
  AND (NEW.status IS NOT OLD.status OR NEW.stage IS NOT OLD.stage
    OR NEW.last_execution IS NOT OLD.last_execution OR NEW.reason IS NOT OLD.reason)
BEGIN
  SELECT RAISE(ABORT, 'a finished task does not change: insert a new task, or retry it through the API');
END;

-- REPLACE and UPSERT under the id of a finished task would change it in another way.
CREATE TRIGGER tasks_replaced BEFORE INSERT ON tasks
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.id AND status IN ('completed', 'failed', 'cancelled'))
BEGIN
  SELECT RAISE(ABORT, 'a finished task does not change: insert a new task, or retry it through the API');
END;

-- The ids of executions are computed from the id of their task. And UPDATE OR REPLACE with the id of another row would
-- delete that row.
CREATE TRIGGER tasks_identity BEFORE UPDATE OF id ON tasks
WHEN NEW.id IS NOT OLD.id
BEGIN
  SELECT RAISE(ABORT, 'the id of a task does not change: insert a new task instead');
END;

-- The status of a new execution is one of the lifecycle.
CREATE TRIGGER executions_state_insert BEFORE INSERT ON task_executions
WHEN COALESCE(NEW.status, '') NOT IN ('running', 'waiting', 'unknown', 'succeeded', 'failed', 'cancelled')
BEGIN
  SELECT RAISE(ABORT, 'task_executions.status must be running, waiting, unknown, succeeded, failed or cancelled');
END;

-- The same for a change.
CREATE TRIGGER executions_state_update BEFORE UPDATE OF status ON task_executions
WHEN COALESCE(NEW.status, '') NOT IN ('running', 'waiting', 'unknown', 'succeeded', 'failed', 'cancelled') AND NEW.status IS NOT OLD.status
BEGIN
  SELECT RAISE(ABORT, 'task_executions.status must be running, waiting, unknown, succeeded, failed or cancelled');
END;

-- An ended execution keeps its state and its result. Its cost may become known later, and one without a result may get an
-- answer that came too late to be used: the worker writes it together with this note.
CREATE TRIGGER executions_finished BEFORE UPDATE OF status, result, result_key ON task_executions
WHEN OLD.status IN ('succeeded', 'failed', 'cancelled')
  AND (NEW.status IS NOT OLD.status
    OR (NEW.result IS NOT OLD.result OR NEW.result_key IS NOT OLD.result_key)
      AND (OLD.status = 'succeeded' OR OLD.result IS NOT NULL OR OLD.result_key IS NOT NULL
        OR NEW.note IS NOT 'late answer, not used'))
BEGIN
  SELECT RAISE(ABORT, 'an ended execution keeps its status and result: only its cost, usage and note can still change');
END;

-- --- executions of the worker -----------------------------------------------------------------------------------------

-- Only the worker moves its open executions. It moves wake_at_ms together with the status: a time, -1 while a lease holds
-- the execution, NULL at its end. An application that changes the status alone would end a call that is still charged,
-- cause a second call while the first is in flight, or leave the task waiting for an execution without a follow-up.
CREATE TRIGGER executions_ours BEFORE UPDATE OF status ON task_executions
WHEN OLD.id BETWEEN 1099511627776 AND 4503599627370495 AND OLD.status IN ('running', 'waiting', 'unknown')
  AND NEW.status IS NOT OLD.status AND (NEW.status = 'running' OR CASE WHEN NEW.status IN ('waiting', 'unknown')
    THEN COALESCE(NEW.wake_at_ms, -1) < 0 ELSE NEW.wake_at_ms IS NOT NULL END)
BEGIN
  SELECT RAISE(ABORT, 'task_executions.status: only the worker ends an execution that it began: cancel the task instead');
END;

-- REPLACE and UPSERT under the id of an ended execution, or of one of the worker, would change it in another way.
CREATE TRIGGER executions_replaced BEFORE INSERT ON task_executions
WHEN EXISTS (SELECT 1 FROM task_executions WHERE id = NEW.id
  AND (status IN ('succeeded', 'failed', 'cancelled') OR id BETWEEN 1099511627776 AND 4503599627370495))
BEGIN
  SELECT RAISE(ABORT, 'an execution is not replaced: insert a new row without an id instead');
END;

-- The id of an execution says which attempt at which task it is, and providers know their calls by it.
CREATE TRIGGER executions_identity BEFORE UPDATE OF id, task_id ON task_executions
WHEN NEW.id IS NOT OLD.id OR NEW.task_id IS NOT OLD.task_id
BEGIN
  SELECT RAISE(ABORT, 'the id and the task_id of an execution do not change: insert a new row without an id instead');
END;

-- SQLite gives a row without an id the highest id plus one, so an execution of another application would get an id among
-- those of the worker. While the worker has the highest ids, this trigger inserts a row above them before the insert.
CREATE TRIGGER executions_foreign_id BEFORE INSERT ON task_executions
WHEN NEW.profile IS NULL AND NEW.budgets IS NULL
  AND (SELECT max(id) FROM task_executions) BETWEEN 1099511627776 AND 4503599627370495
  AND NOT EXISTS (SELECT 1 FROM task_executions WHERE id = NEW.id)
BEGIN
  INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, started_at)
  VALUES (4503599627370496, NEW.task_id, 'ai', '', '', 'failed', '');
END;

-- Delete that row after the insert.
CREATE TRIGGER executions_foreign_insert AFTER INSERT ON task_executions
WHEN NEW.profile IS NULL
BEGIN
  DELETE FROM task_executions WHERE id = 4503599627370496;
END;

-- --- budgets ----------------------------------------------------------------------------------------------------------

-- Admission, the hard limit: an execution is inserted only if its reservation fits into all budget periods that it names.
-- A refused row is skipped without an error (IGNORE), so that the other rows of the statement are still inserted. SQLite
-- runs the triggers row by row, so each row is checked against the counters that the rows before it have changed.
CREATE TRIGGER executions_admission BEFORE INSERT ON task_executions
WHEN NEW.budgets IS NOT NULL AND EXISTS (
  SELECT 1 FROM json_each(NEW.budgets) AS wanted
  LEFT JOIN budget_periods AS period ON period.id = wanted.value
  LEFT JOIN budgets AS budget ON budget.id = period.budget_id
  WHERE budget.id IS NULL OR period.spent_micro + period.reserved_micro + NEW.reserved_micro > budget.cap_micro)
BEGIN
  SELECT RAISE(IGNORE);
END;

-- A new execution counts in its periods: with its cost if that is known, with its reservation until then.
CREATE TRIGGER executions_reserve AFTER INSERT ON task_executions
WHEN NEW.budgets IS NOT NULL
BEGIN
  UPDATE budget_periods SET
    spent_micro = spent_micro + COALESCE(NEW.cost_micro, 0),
    reserved_micro = reserved_micro + CASE WHEN NEW.cost_micro IS NULL THEN NEW.reserved_micro ELSE 0 END
  WHERE id IN (SELECT value FROM json_each(NEW.budgets));
END;

-- When the cost becomes known or changes, the counters change with it. No counter goes below zero, even if a person has
-- changed it by hand: a negative counter would be room that the budget does not have.
CREATE TRIGGER executions_charge AFTER UPDATE OF cost_micro, reserved_micro ON task_executions
WHEN NEW.budgets IS NOT NULL
  AND (NEW.cost_micro IS NOT OLD.cost_micro OR NEW.reserved_micro IS NOT OLD.reserved_micro)
BEGIN
  UPDATE budget_periods SET
    spent_micro = max(0, spent_micro + COALESCE(NEW.cost_micro, 0) - COALESCE(OLD.cost_micro, 0)),
    reserved_micro = max(0, reserved_micro
      + CASE WHEN NEW.cost_micro IS NULL THEN NEW.reserved_micro ELSE 0 END
      - CASE WHEN OLD.cost_micro IS NULL THEN OLD.reserved_micro ELSE 0 END)
  WHERE id IN (SELECT value FROM json_each(NEW.budgets));
END;

-- Deleting an execution never gives money back. What it has cost stays spent. If its cost is unknown, its reservation is
-- charged, because nothing will tell the cost any more.
CREATE TRIGGER executions_deleted AFTER DELETE ON task_executions
WHEN OLD.budgets IS NOT NULL
BEGIN
  UPDATE budget_periods SET
    spent_micro = spent_micro + CASE WHEN OLD.cost_micro IS NULL THEN OLD.reserved_micro ELSE 0 END,
    reserved_micro = max(0, reserved_micro - CASE WHEN OLD.cost_micro IS NULL THEN OLD.reserved_micro ELSE 0 END),
    deleted_micro = deleted_micro + COALESCE(OLD.cost_micro, OLD.reserved_micro)
  WHERE id IN (SELECT value FROM json_each(OLD.budgets));
END;

-- The cost moves into the ledger, so that lists of costs keep it.
CREATE TRIGGER executions_ledger AFTER DELETE ON task_executions
WHEN OLD.profile <> ''
BEGIN
  INSERT INTO ledger (task_id, organization_id, template_id, profile, provider, day, executions, cost_micro, bound_micro, overrun_micro)
  VALUES (OLD.task_id, 0, 0, OLD.profile, COALESCE(OLD.provider, ''), COALESCE(substr(OLD.started_at, 1, 10), ''), 1,
    COALESCE(OLD.cost_micro, OLD.reserved_micro),
    CASE WHEN OLD.cost_micro IS NULL THEN OLD.reserved_micro WHEN OLD.cost_source = 'bound' THEN OLD.cost_micro ELSE 0 END,
    CASE WHEN OLD.budgets IS NULL THEN 0 ELSE max(0, COALESCE(OLD.cost_micro, 0) - OLD.reserved_micro) END)
  ON CONFLICT (task_id, organization_id, template_id, profile, provider, day) DO UPDATE SET
    executions = executions + 1, cost_micro = cost_micro + excluded.cost_micro,
    bound_micro = bound_micro + excluded.bound_micro, overrun_micro = overrun_micro + excluded.overrun_micro;
END;

-- An execution is charged to the periods that admitted it. With other periods, the counters would not agree.
CREATE TRIGGER executions_budgets BEFORE UPDATE OF budgets ON task_executions
WHEN NEW.budgets IS NOT OLD.budgets
BEGIN
  SELECT RAISE(ABORT, 'task_executions.budgets does not change: the cost counts in the budgets of its reservation');
END;

-- REPLACE deletes the old row and its periods with it, so the budget would forget what was spent.
CREATE TRIGGER budgets_replaced BEFORE INSERT ON budgets
WHEN EXISTS (SELECT 1 FROM budgets WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT, 'a budget is updated, not replaced, because its periods would be lost: use UPDATE instead');
END;

-- The counters of a budget are sums for its scope and its kind of period, and mean nothing for others. And blocked tasks
-- name the tier of the budget that they wait for.
CREATE TRIGGER budgets_kept BEFORE UPDATE OF id, scope, scope_id, period, tier ON budgets
WHEN NEW.id IS NOT OLD.id OR NEW.scope IS NOT OLD.scope OR NEW.scope_id IS NOT OLD.scope_id OR NEW.period IS NOT OLD.period
  OR NEW.tier IS NOT OLD.tier
BEGIN
  SELECT RAISE(ABORT, 'a budget keeps its scope and period: insert another budget and delete this one');
END;

-- The budgets of a task end with the task, so that no sweep reads those of finished tasks.
CREATE TRIGGER tasks_ended AFTER UPDATE OF status ON tasks
WHEN NEW.status IN ('completed', 'failed', 'cancelled')
  AND EXISTS (SELECT 1 FROM budgets WHERE scope = 'task' AND scope_id = NEW.id)
BEGIN
  UPDATE budget_periods SET open = 0 WHERE open = 1
    AND budget_id IN (SELECT id FROM budgets WHERE scope = 'task' AND scope_id = NEW.id);
END;

-- When a blocked task gets another template or organization, other budgets apply to it: it is due and tries again.
CREATE TRIGGER tasks_moved AFTER UPDATE OF template_id, organization_id ON tasks
WHEN NEW.status = 'pending' AND NEW.blocked_by GLOB 'budget:*'
  AND (NEW.template_id IS NOT OLD.template_id OR NEW.organization_id IS NOT OLD.organization_id)
BEGIN
  UPDATE tasks SET run_at_ms = CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER), blocked_by = NULL
  WHERE id = NEW.id;
END;

-- A deleted task takes its budgets along, and its records no longer name it. In a table without AUTOINCREMENT a new task may get its id. So the ledger no
-- longer names the task either: what its deleted executions have cost stays with its organization and its template.
CREATE TRIGGER tasks_gone AFTER DELETE ON tasks
BEGIN
  DELETE FROM budgets WHERE scope = 'task' AND scope_id = OLD.id;
  INSERT INTO ledger (task_id, organization_id, template_id, profile, provider, day, executions, cost_micro, bound_micro, overrun_micro)
  SELECT 0, COALESCE(OLD.organization_id, 0), COALESCE(OLD.template_id, 0), profile, provider, day, executions, cost_micro,
    bound_micro, overrun_micro
  FROM ledger WHERE task_id = OLD.id
  ON CONFLICT (task_id, organization_id, template_id, profile, provider, day) DO UPDATE SET
    executions = executions + excluded.executions, cost_micro = cost_micro + excluded.cost_micro,
    bound_micro = bound_micro + excluded.bound_micro, overrun_micro = overrun_micro + excluded.overrun_micro;
  DELETE FROM ledger WHERE task_id = OLD.id;
  UPDATE audit_log SET task_id = NULL, detail = COALESCE(detail || ', ', '') || 'task ' || OLD.id || ', which was deleted'
  WHERE task_id = OLD.id;
END;

-- The ids of executions follow from the id of their task, so a new task with that id would take them for its own. A
-- foreign key of the table says the same, where it has one.
CREATE TRIGGER tasks_deleted AFTER DELETE ON tasks
WHEN EXISTS (SELECT 1 FROM task_executions WHERE id BETWEEN 1099511627776 + OLD.id * 1024 AND 1099511627776 + OLD.id * 1024 + 1023)
BEGIN
  SELECT RAISE(ABORT, 'a task is deleted after its executions: delete the rows of task_executions with its task_id first');
END;

-- A webhook that came for a deleted execution is not one for a later execution with the same id.
CREATE TRIGGER executions_gone AFTER DELETE ON task_executions
BEGIN
  UPDATE webhooks SET execution_id = NULL, external_id = COALESCE(external_id, 'forgotten:' || OLD.id)
  WHERE handled_ms IS NULL AND execution_id IS NOT NULL AND execution_id = OLD.id;
END;

-- The same for a template.
CREATE TRIGGER templates_gone AFTER DELETE ON task_templates
BEGIN
  DELETE FROM budgets WHERE scope = 'template' AND scope_id = OLD.id;
END;

-- --- tasks of other applications --------------------------------------------------------------------------------------

-- Another application inserts a task with public columns only. Give it an identity, the organization of its template or
-- its creator, the time of its raise, and a time from which it is due. If it has no organization, or its template has no route, it
-- waits, and blocked_by says why.
CREATE TRIGGER tasks_foreign_insert AFTER INSERT ON tasks
WHEN NEW.organization_id IS NULL
BEGIN
  UPDATE tasks SET
    identity = COALESCE(identity, lower(hex(randomblob(8)))),
    organization_id = COALESCE(
      (SELECT organization_id FROM task_templates WHERE id = NEW.template_id),
      (SELECT organization_id FROM users WHERE id = NEW.created_by)),
    raise_at_ms = (SELECT CAST(due - max(0, due - now) / 4 AS INTEGER) FROM (SELECT
      (julianday(NEW.due_date) - 2440587.5) * 86400000.0 AS due,
      (julianday('now') - 2440587.5) * 86400000.0 AS now))
  WHERE id = NEW.id;
  UPDATE tasks SET blocked_by = CASE
    WHEN organization_id IS NULL THEN 'no_organization'
    WHEN NOT EXISTS (SELECT 1 FROM task_templates WHERE id = NEW.template_id AND route IS NOT NULL)
    THEN 'no_route:' || COALESCE(NEW.template_id, '') END
  WHERE id = NEW.id AND status = 'pending';
  UPDATE tasks SET run_at_ms = CASE WHEN blocked_by IS NOT NULL THEN 9007199254740990
    ELSE max(run_at_ms, CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)) END
  WHERE id = NEW.id;
END;

-- An application that names the organization itself gets the identity alone.
CREATE TRIGGER tasks_foreign_identity AFTER INSERT ON tasks
WHEN NEW.organization_id IS NOT NULL AND NEW.identity IS NULL
BEGIN
  UPDATE tasks SET identity = lower(hex(randomblob(8))) WHERE id = NEW.id;
END;

-- As after the insert, when the application writes one of these columns of a blocked task, to another value or to the
-- same: the template or the creator may have got an organization since.
CREATE TRIGGER tasks_foreign_template AFTER UPDATE OF template_id, created_by, organization_id ON tasks
WHEN NEW.status = 'pending' AND (NEW.blocked_by = 'no_organization' OR NEW.blocked_by GLOB 'no_route:*')
BEGIN
  UPDATE tasks SET organization_id = COALESCE(organization_id,
    (SELECT organization_id FROM task_templates WHERE id = NEW.template_id),
    (SELECT organization_id FROM users WHERE id = NEW.created_by))
  WHERE id = NEW.id;
  UPDATE tasks SET blocked_by = CASE
    WHEN organization_id IS NULL THEN 'no_organization'
    WHEN NOT EXISTS (SELECT 1 FROM task_templates WHERE id = NEW.template_id AND route IS NOT NULL)
    THEN 'no_route:' || COALESCE(NEW.template_id, '') END
  WHERE id = NEW.id;
  UPDATE tasks SET run_at_ms = CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)
  WHERE id = NEW.id AND blocked_by IS NULL;
END;

-- A task waits while its row holds a value that the worker cannot read, such as bytes as its title. When another
-- application corrects the row, the task is due.
CREATE TRIGGER tasks_corrected AFTER UPDATE OF title, description, input, assigned_to, deadline_ms ON tasks
WHEN NEW.status = 'pending' AND NEW.blocked_by GLOB 'bad_row:*'
BEGIN
  UPDATE tasks SET run_at_ms = CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER), blocked_by = NULL
  WHERE id = NEW.id;
END;

-- The same while a worker holds the task: it has read the old values. The statement that sets the task aside reads this
-- version, and makes the task due instead.
CREATE TRIGGER tasks_edited AFTER UPDATE OF title, description, input, assigned_to, deadline_ms, template_id, created_by, organization_id ON tasks
WHEN NEW.status = 'running' AND NEW.lease IS NOT NULL
BEGIN
  UPDATE tasks SET edited_version = version WHERE id = NEW.id;
END;

-- A status that changes without the version was changed by another application. Move the version, so that a worker that
-- holds the task cannot change it any more. Make the task due, or blocked. Have its status published. If the application
-- ended the task, make its open executions due for a follow-up, which cancels them. Record the change.
CREATE TRIGGER tasks_foreign_edit AFTER UPDATE OF status ON tasks
WHEN NEW.version = OLD.version AND NEW.status IS NOT OLD.status
BEGIN
  UPDATE tasks SET version = version + 1, lease = NULL, blocked_by = CASE
    WHEN NEW.status IN ('completed', 'failed', 'cancelled') THEN NULL
    WHEN blocked_by = 'adopt' THEN 'adopt'
    WHEN NEW.status <> 'pending' THEN NULL
    WHEN organization_id IS NULL THEN 'no_organization'
    WHEN NOT EXISTS (SELECT 1 FROM task_templates WHERE id = NEW.template_id AND route IS NOT NULL)
    THEN 'no_route:' || COALESCE(NEW.template_id, '') END
  WHERE id = NEW.id;
  UPDATE tasks SET run_at_ms = CASE WHEN blocked_by IS NOT NULL THEN 9007199254740990
    ELSE CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) END
  WHERE id = NEW.id;
  UPDATE task_executions SET wake_at_ms = 0
  WHERE id BETWEEN 1099511627776 + NEW.id * 1024 AND 1099511627776 + NEW.id * 1024 + 1023
    AND +status IN ('waiting', 'unknown') AND NEW.status IN ('completed', 'failed', 'cancelled');
  INSERT INTO outbox (kind, task_id, due_ms) VALUES ('publish', NEW.id, 0)
  ON CONFLICT (kind, task_id, holder) DO UPDATE SET due_ms = 0;
  INSERT INTO audit_log (at_ms, organization_id, task_id, actor, event, detail)
  VALUES (CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER), NEW.organization_id, NEW.id,
    'another application', 'edited', OLD.status || ' -> ' || NEW.status);
END;

-- A new due date raises the task at another time.
CREATE TRIGGER tasks_foreign_due_date AFTER UPDATE OF due_date ON tasks
WHEN NEW.due_date IS NOT OLD.due_date AND NEW.status = 'pending'
BEGIN
  UPDATE tasks SET raise_at_ms = (SELECT CAST(due - max(0, due - now) / 4 AS INTEGER) FROM (SELECT
    (julianday(NEW.due_date) - 2440587.5) * 86400000.0 AS due,
    (julianday('now') - 2440587.5) * 86400000.0 AS now))
  WHERE id = NEW.id;
END;

-- --- tasks that are older than the worker ----------------------------------------------------------------------------

-- Spending is not resumed while old tasks could be executed that no operator has adopted.
CREATE TRIGGER stops_installation BEFORE DELETE ON stops
WHEN EXISTS (SELECT 1 FROM installation)
BEGIN
  SELECT RAISE(ABORT, 'the installation is not finished: wait until cron has marked the tasks that are older than the worker');
END;

-- Cron gives each of them an identity and an organization, and lets the unfinished ones wait until an operator adopts them
-- (consumer/store/installation.py). Until then nothing is spent.
INSERT INTO installation (id, next_id, last_id)
SELECT 1, (SELECT min(id) FROM tasks), (SELECT max(id) FROM tasks) WHERE EXISTS (SELECT 1 FROM tasks);
INSERT INTO stops (id, at_ms, actor, reason)
SELECT 1, CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER), 'installation',
  'the tasks that are older than the worker are being marked; this ends by itself'
FROM installation;
