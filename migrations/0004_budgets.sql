-- Budgets that somebody writes to directly, and tasks that leave the reach of one.

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
