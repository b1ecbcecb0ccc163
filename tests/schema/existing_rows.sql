-- 1,000 tasks, and what belongs to them, from before the worker was installed.

INSERT INTO organizations (id, name, created_at) VALUES (1, 'Acme', '2023-12-01 08:00:00'),
  (2, 'Bolt', '2023-12-02 08:00:00'), (3, 'Cy & Söhne "🌙"', '2023-12-03T08:00:00.000Z');
INSERT INTO users (id, organization_id, email, name, created_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
SELECT i, CASE WHEN i % 10 = 0 THEN NULL ELSE 1 + i % 3 END, 'user' || i || '@example.test', 'User ' || i,
  datetime('2023-12-04', i || ' hours')
FROM n;
INSERT INTO task_templates (id, organization_id, name, description, category, estimated_duration, created_by, created_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8)
SELECT i, CASE WHEN i = 8 THEN NULL ELSE 1 + i % 3 END, 'Template ' || i, 'How it''s done', 'misc', 15 * i, i,
  datetime('2023-12-05', i || ' hours')
FROM n;
INSERT INTO tasks (id, template_id, title, description, status, priority, assigned_to, created_by, due_date, created_at,
  updated_at)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
SELECT i, CASE WHEN i % 11 = 0 THEN NULL ELSE 1 + i % 8 END, 'Task ' || i, CASE WHEN i % 3 THEN 'Do ' || i END,
  CASE i % 10 WHEN 0 THEN 'completed' WHEN 1 THEN 'running' WHEN 2 THEN 'failed' WHEN 3 THEN 'in_progress'
    WHEN 4 THEN 'cancelled' WHEN 5 THEN 'waiting' ELSE 'pending' END,
  CASE i % 5 WHEN 0 THEN 'urgent' WHEN 1 THEN 'high' WHEN 2 THEN 'low' WHEN 3 THEN NULL ELSE 'medium' END,
  CASE WHEN i % 4 = 0 THEN 1 + i % 30 END, CASE WHEN i % 7 THEN 1 + i % 30 END,
  CASE WHEN i % 6 = 0 THEN datetime('2024-06-01', i || ' hours') END, datetime('2024-01-01', i || ' minutes'),
  datetime('2024-01-01', i || ' hours')
FROM n;
INSERT INTO task_executions (id, task_id, execution_type, provider, cost, started_at, completed_at, status, result)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
SELECT i, i, CASE i % 3 WHEN 0 THEN 'ai' WHEN 1 THEN 'human' ELSE 'hybrid' END, 'openai', i / 1000.0,
  datetime('2024-01-02', i || ' minutes'), CASE WHEN i % 10 = 0 THEN datetime('2024-01-03') END,
  CASE WHEN i % 10 = 0 THEN 'completed' ELSE 'running' END, CASE WHEN i % 10 = 0 THEN '{"ok": true}' END
FROM n;
