-- The database in three files:
--   0001_public_tables.sql   the five public tables, which other applications read and write too
--   0002_worker.sql          the columns and tables of the worker, and the path of a task through them
--   0003_rules.sql           triggers: the rules that hold for every writer, and the hard limit of budgets
--
-- The five tables are a public contract: docs/database.md lists what an application may do with them.
--
--   organizations     customers, to which all other rows belong
--   users             the people of an organization, who create tasks and answer them
--   task_templates    how tasks of one kind are done
--   tasks             one row for each piece of work
--   task_executions   one row for each attempt at a task by an AI model or a person
--
-- A database that already has these tables keeps its own (IF NOT EXISTS).  Times are texts in UTC, like
-- 2030-03-01T12:00:00.000Z.
--
-- AUTOINCREMENT never gives the id of a deleted row to a new one.  Providers and budgets know tasks and templates by
-- their ids, and must not take a new row for a deleted one.

CREATE TABLE IF NOT EXISTS organizations (
  id INTEGER PRIMARY KEY,
  -- The name that people see.
  name TEXT NOT NULL,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE TABLE IF NOT EXISTS users (
  id INTEGER PRIMARY KEY,
  -- The organization that the person works for.
  organization_id INTEGER REFERENCES organizations(id),
  -- The address that identifies the person.
  email TEXT NOT NULL,
  -- The name that colleagues see.
  name TEXT,
  -- For other applications: the worker takes permissions from API keys.
  role TEXT NOT NULL DEFAULT 'member',
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE TABLE IF NOT EXISTS task_templates (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- The organization that owns the template, and so the tasks that name it.
  organization_id INTEGER REFERENCES organizations(id),
  -- The name by which the API finds the template within its organization.
  name TEXT NOT NULL,
  -- A note for people.
  description TEXT,
  -- A group of templates, for people.
  category TEXT,
  -- For other applications: the worker does not use it.
  estimated_duration INTEGER,
  -- The user who wrote the template.
  created_by INTEGER REFERENCES users(id),
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE TABLE IF NOT EXISTS tasks (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- The template that says how the task is done.
  template_id INTEGER REFERENCES task_templates(id),
  -- The subject in one line. A task without an input of its own has title and description as its input.
  title TEXT NOT NULL,
  -- The subject in full.
  description TEXT,
  -- The state: pending, running, waiting, completed, failed or cancelled (docs/lifecycle.md).
  status TEXT NOT NULL DEFAULT 'pending',
  -- The priority: urgent, high, medium or low. Any other value counts as medium.
  priority TEXT DEFAULT 'medium',
  -- The user whom stages for people ask, unless the route names another one.
  assigned_to INTEGER REFERENCES users(id),
  -- The user who created the task. If the template has no organization, the task gets that of this user.
  created_by INTEGER REFERENCES users(id),
  -- The time that the author wishes for: the task is raised by one rank near it, and still done after it.
  due_date TEXT,
  created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  -- The time of the last move of the task.
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE TABLE IF NOT EXISTS task_executions (
  -- Ids of the worker begin at 1099511627776 and say which task and which attempt they are (consumer/store/sql.py).
  id INTEGER PRIMARY KEY,
  -- The task that this is an attempt at.
  task_id INTEGER NOT NULL REFERENCES tasks(id),
  -- The kind of work: ai, human, or hybrid (a person reviews the result of the stage before).
  execution_type TEXT NOT NULL,
  -- The name of the adapter that made the call.
  provider TEXT,
  -- The cost in dollars, NULL while it is unknown.
  cost NUMERIC,
  -- The time when the worker wrote the intent, before it sent anything.
  started_at TEXT,
  -- The time when the execution ended, NULL while it is open.
  completed_at TEXT,
  -- The state: running, waiting, unknown, succeeded, failed or cancelled (docs/lifecycle.md).
  status TEXT NOT NULL DEFAULT 'running',
  -- The answer as JSON. It is NULL if there is none, or if it is too large for a row (result_key). The task did not use
  -- the answer of a failed or cancelled execution.
  result TEXT
);
