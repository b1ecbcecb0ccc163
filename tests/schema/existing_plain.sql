-- The five tables, written by hand.

CREATE TABLE organizations (
  id INTEGER PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE users (
  id INTEGER PRIMARY KEY,
  organization_id INTEGER,
  email VARCHAR(255) UNIQUE NOT NULL,
  name VARCHAR(255),
  role VARCHAR(50) DEFAULT 'member',
  created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
  FOREIGN KEY (organization_id) REFERENCES organizations(id)
);
CREATE TABLE task_templates (
  id INTEGER PRIMARY KEY,
  organization_id INTEGER,
  name VARCHAR(255) NOT NULL,
  description TEXT,
  category VARCHAR(100),
  estimated_duration INTEGER,
  created_by INTEGER,
  created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
  FOREIGN KEY (organization_id) REFERENCES organizations(id),
  FOREIGN KEY (created_by) REFERENCES users(id)
);
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY,
  template_id INTEGER,
  title VARCHAR(255) NOT NULL,
  description TEXT,
  status VARCHAR(50) DEFAULT 'pending',
  priority VARCHAR(50) DEFAULT 'medium',
  assigned_to INTEGER,
  created_by INTEGER,
  due_date DATETIME,
  created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
  updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
  FOREIGN KEY (template_id) REFERENCES task_templates(id),
  FOREIGN KEY (assigned_to) REFERENCES users(id),
  FOREIGN KEY (created_by) REFERENCES users(id)
);
CREATE TABLE task_executions (
  id INTEGER PRIMARY KEY,
  task_id INTEGER NOT NULL,
  execution_type VARCHAR(50) NOT NULL,
  provider VARCHAR(100),
  cost DECIMAL(10,4),
  started_at DATETIME,
  completed_at DATETIME,
  status VARCHAR(50) DEFAULT 'running',
  result TEXT,
  FOREIGN KEY (task_id) REFERENCES tasks(id)
);
CREATE INDEX idx_tasks_status ON tasks(status);
