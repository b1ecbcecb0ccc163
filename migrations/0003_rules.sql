-- Rules that hold whoever writes: states, finished rows, budgets, and what follows from another application's edit.

CREATE TRIGGER tasks_state_insert BEFORE INSERT ON tasks
WHEN COALESCE(NEW.status, '') NOT IN ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled')
BEGIN
  SELECT RAISE(ABORT, 'tasks.status: pending, running, waiting, completed, failed or cancelled');
END;

CREATE TRIGGER tasks_state_update BEFORE UPDATE OF status ON tasks
WHEN COALESCE(NEW.status, '') NOT IN ('pending', 'running', 'waiting', 'completed', 'failed', 'cancelled') AND NEW.status IS NOT OLD.status
BEGIN
  SELECT RAISE(ABORT, 'tasks.status: pending, running, waiting, completed, failed or cancelled');
END;

CREATE TRIGGER tasks_finished BEFORE UPDATE OF status, stage, last_execution, reason ON tasks
WHEN OLD.status IN ('completed', 'failed', 'cancelled')
  AND (NEW.status IS NOT OLD.status OR NEW.stage IS NOT OLD.stage
    OR NEW.last_execution IS NOT OLD.last_execution OR NEW.reason IS NOT OLD.reason)
BEGIN
  SELECT RAISE(ABORT, 'a finished task does not change: retry it as a new task');
END;

CREATE TRIGGER tasks_replaced BEFORE INSERT ON tasks
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = NEW.id AND status IN ('completed', 'failed', 'cancelled'))
BEGIN
  SELECT RAISE(ABORT, 'a finished task does not change: retry it as a new task');
END;

-- A number that moved would take another row's place (UPDATE OR REPLACE), and an execution's says whose it is.
CREATE TRIGGER tasks_identity BEFORE UPDATE OF id ON tasks
WHEN NEW.id IS NOT OLD.id
BEGIN
  SELECT RAISE(ABORT, 'the id of a task does not change');
END;

CREATE TRIGGER executions_state_insert BEFORE INSERT ON task_executions
WHEN COALESCE(NEW.status, '') NOT IN ('running', 'waiting', 'unknown', 'succeeded', 'failed', 'cancelled')
BEGIN
  SELECT RAISE(ABORT, 'task_executions.status: running, waiting, unknown, succeeded, failed or cancelled');
END;

CREATE TRIGGER executions_state_update BEFORE UPDATE OF status ON task_executions
WHEN COALESCE(NEW.status, '') NOT IN ('running', 'waiting', 'unknown', 'succeeded', 'failed', 'cancelled') AND NEW.status IS NOT OLD.status
BEGIN
  SELECT RAISE(ABORT, 'task_executions.status: running, waiting, unknown, succeeded, failed or cancelled');
END;

CREATE TRIGGER executions_finished BEFORE UPDATE OF status, result, result_key ON task_executions
WHEN OLD.status IN ('succeeded', 'failed', 'cancelled')
  AND (NEW.status IS NOT OLD.status OR NEW.result IS NOT OLD.result OR NEW.result_key IS NOT OLD.result_key)
BEGIN
  SELECT RAISE(ABORT, 'a finished execution keeps its status and result: only cost, usage and notes may follow');
END;

-- Who looks after an open execution of ours is told by `wake_at_ms`: its time, or -1 while a lease holds it; it is gone
-- when the execution has ended.  Whoever changes the status alone would end a call that is still charged, have it made
-- a second time while it is in flight, or leave its task waiting for nobody.
CREATE TRIGGER executions_ours BEFORE UPDATE OF status ON task_executions
WHEN OLD.id BETWEEN 1099511627776 AND 4503599627370495 AND OLD.status IN ('running', 'waiting', 'unknown')
  AND NEW.status IS NOT OLD.status AND (NEW.status = 'running' OR CASE WHEN NEW.status IN ('waiting', 'unknown')
    THEN COALESCE(NEW.wake_at_ms, -1) < 0 ELSE NEW.wake_at_ms IS NOT NULL END)
BEGIN
  SELECT RAISE(ABORT, 'task_executions.status: the worker ends what it has begun: cancel the task instead');
END;

CREATE TRIGGER executions_replaced BEFORE INSERT ON task_executions
WHEN EXISTS (SELECT 1 FROM task_executions WHERE id = NEW.id
  AND (status IN ('succeeded', 'failed', 'cancelled') OR id BETWEEN 1099511627776 AND 4503599627370495))
BEGIN
  SELECT RAISE(ABORT, 'an execution is not replaced');
END;

CREATE TRIGGER executions_identity BEFORE UPDATE OF id, task_id ON task_executions
WHEN NEW.id IS NOT OLD.id OR NEW.task_id IS NOT OLD.task_id
BEGIN
  SELECT RAISE(ABORT, 'the id and the task of an execution do not change');
END;

-- SQLite counts on from the highest id there is, so that an execution which another application inserts without
-- an id would land among ours.  While ours are the highest, a row stands above them for as long as its insert takes.
CREATE TRIGGER executions_foreign_id BEFORE INSERT ON task_executions
WHEN NEW.profile IS NULL AND NEW.budgets IS NULL
  AND (SELECT max(id) FROM task_executions) BETWEEN 1099511627776 AND 4503599627370495
  AND NOT EXISTS (SELECT 1 FROM task_executions WHERE id = NEW.id)
BEGIN
  INSERT INTO task_executions (id, task_id, execution_type, provider, profile, status, started_at)
  VALUES (4503599627370496, NEW.task_id, 'ai', '', '', 'failed', '');
END;

CREATE TRIGGER executions_foreign_insert AFTER INSERT ON task_executions
WHEN NEW.profile IS NULL
BEGIN
  DELETE FROM task_executions WHERE id = 4503599627370496;
END;

-- Admission: the wall of every budget that applies, all or none.  The row is left out without an error, so
-- that one refused execution takes no other of its group along; rows of one statement are judged one by one,
-- each after the counters of those before it.
CREATE TRIGGER executions_admission BEFORE INSERT ON task_executions
WHEN NEW.budgets IS NOT NULL AND EXISTS (
  SELECT 1 FROM json_each(NEW.budgets) AS wanted
  LEFT JOIN budget_periods AS period ON period.id = wanted.value
  LEFT JOIN budgets AS budget ON budget.id = period.budget_id
  WHERE budget.id IS NULL OR period.spent_micro + period.reserved_micro + NEW.reserved_micro > budget.cap_micro)
BEGIN
  SELECT RAISE(IGNORE);
END;

-- What an execution weighs: its cost once it is known, its reservation until then.  A counter that somebody set
-- by hand is not carried below zero, where it would be room.
CREATE TRIGGER executions_reserve AFTER INSERT ON task_executions
WHEN NEW.budgets IS NOT NULL
BEGIN
  UPDATE budget_periods SET
    spent_micro = spent_micro + COALESCE(NEW.cost_micro, 0),
    reserved_micro = reserved_micro + CASE WHEN NEW.cost_micro IS NULL THEN NEW.reserved_micro ELSE 0 END
  WHERE id IN (SELECT value FROM json_each(NEW.budgets));
END;

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

CREATE TRIGGER executions_release AFTER DELETE ON task_executions
WHEN OLD.budgets IS NOT NULL
BEGIN
  UPDATE budget_periods SET
    spent_micro = max(0, spent_micro - COALESCE(OLD.cost_micro, 0)),
    reserved_micro = max(0, reserved_micro - CASE WHEN OLD.cost_micro IS NULL THEN OLD.reserved_micro ELSE 0 END)
  WHERE id IN (SELECT value FROM json_each(OLD.budgets));
END;

CREATE TRIGGER executions_budgets BEFORE UPDATE OF budgets ON task_executions
WHEN NEW.budgets IS NOT OLD.budgets
BEGIN
  SELECT RAISE(ABORT, 'the budgets of an execution are those of its reservation');
END;

-- Written anew under its number it would forget what was spent: its periods would go with the old row.
CREATE TRIGGER budgets_replaced BEFORE INSERT ON budgets
WHEN EXISTS (SELECT 1 FROM budgets WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT, 'a budget is updated, not replaced: its periods would be lost');
END;

-- Its periods are those of its kind, and what it has admitted or refused was of its scope.
CREATE TRIGGER budgets_kept BEFORE UPDATE OF id, scope, scope_id, period ON budgets
WHEN NEW.id IS NOT OLD.id OR NEW.scope IS NOT OLD.scope OR NEW.scope_id IS NOT OLD.scope_id OR NEW.period IS NOT OLD.period
BEGIN
  SELECT RAISE(ABORT, 'a budget keeps its scope and period: set another one, and delete this one');
END;

-- Another budget may apply to it now, or none.
CREATE TRIGGER tasks_moved AFTER UPDATE OF template_id, organization_id ON tasks
WHEN NEW.status = 'pending' AND NEW.blocked_by GLOB 'budget:*'
  AND (NEW.template_id IS NOT OLD.template_id OR NEW.organization_id IS NOT OLD.organization_id)
BEGIN
  UPDATE tasks SET run_at_ms = CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER), blocked_by = NULL
  WHERE id = NEW.id;
END;

-- Where a table has no AUTOINCREMENT, the number of a deleted row may be given to another.
CREATE TRIGGER tasks_gone AFTER DELETE ON tasks
BEGIN
  DELETE FROM budgets WHERE scope = 'task' AND scope_id = OLD.id;
END;

CREATE TRIGGER templates_gone AFTER DELETE ON task_templates
BEGIN
  DELETE FROM budgets WHERE scope = 'template' AND scope_id = OLD.id;
END;

-- A task that another application inserts knows only the public columns: give it an organization and a turn,
-- or say what it lacks.
CREATE TRIGGER tasks_foreign_insert AFTER INSERT ON tasks
WHEN NEW.organization_id IS NULL
BEGIN
  UPDATE tasks SET
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

-- What it lacked may be given later, or written again when its template or creator has got it.
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

-- Another application changed the status: whoever held the task has lost it, readers hear of it, and what is
-- open at a provider is attended to.
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

CREATE TRIGGER tasks_foreign_due_date AFTER UPDATE OF due_date ON tasks
WHEN NEW.due_date IS NOT OLD.due_date AND NEW.status = 'pending'
BEGIN
  UPDATE tasks SET raise_at_ms = (SELECT CAST(due - max(0, due - now) / 4 AS INTEGER) FROM (SELECT
    (julianday(NEW.due_date) - 2440587.5) * 86400000.0 AS due,
    (julianday('now') - 2440587.5) * 86400000.0 AS now))
  WHERE id = NEW.id;
END;
