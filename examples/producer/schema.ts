// The five public tables, as an application that shares them declares them for Drizzle.
//
// Only the public columns: the worker's own need not be known here, each has a default or may be NULL.  Declare the
// defaults that the database has, as below.  For a column without a value and without a declared default Drizzle
// does not leave the column out but sends NULL, so that the default in the database is never used.
import { sql } from "drizzle-orm";
import { integer, numeric, sqliteTable, text } from "drizzle-orm/sqlite-core";

export const TASK_STATES = ["pending", "running", "waiting", "completed", "failed", "cancelled"] as const;
export const EXECUTION_STATES = ["running", "waiting", "unknown", "succeeded", "failed", "cancelled"] as const;
export const EXECUTION_TYPES = ["ai", "human", "hybrid"] as const;
export const PRIORITIES = ["urgent", "high", "medium", "low"] as const;

// Times are ISO 8601 text in UTC.
const now = sql`(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))`;

export const organizations = sqliteTable("organizations", {
  id: integer("id").primaryKey(),
  name: text("name").notNull(),
  createdAt: text("created_at").notNull().default(now),
});

export const users = sqliteTable("users", {
  id: integer("id").primaryKey(),
  organizationId: integer("organization_id").references(() => organizations.id),
  email: text("email").notNull(),
  name: text("name"),
  role: text("role").notNull().default("member"),
  createdAt: text("created_at").notNull().default(now),
});

export const taskTemplates = sqliteTable("task_templates", {
  id: integer("id").primaryKey(),
  organizationId: integer("organization_id").references(() => organizations.id),
  name: text("name").notNull(),
  description: text("description"),
  category: text("category"),
  estimatedDuration: integer("estimated_duration"),
  createdBy: integer("created_by").references(() => users.id),
  createdAt: text("created_at").notNull().default(now),
});

export const tasks = sqliteTable("tasks", {
  id: integer("id").primaryKey(),
  templateId: integer("template_id").references(() => taskTemplates.id),
  title: text("title").notNull(),
  description: text("description"),
  status: text("status", { enum: TASK_STATES }).notNull().default("pending"),
  priority: text("priority", { enum: PRIORITIES }).default("medium"),
  assignedTo: integer("assigned_to").references(() => users.id),
  createdBy: integer("created_by").references(() => users.id),
  dueDate: text("due_date"),
  createdAt: text("created_at").notNull().default(now),
  updatedAt: text("updated_at").notNull().default(now),
});

export const taskExecutions = sqliteTable("task_executions", {
  id: integer("id").primaryKey(),
  taskId: integer("task_id")
    .notNull()
    .references(() => tasks.id),
  executionType: text("execution_type", { enum: EXECUTION_TYPES }).notNull(),
  provider: text("provider"),
  cost: numeric("cost", { mode: "number" }),
  startedAt: text("started_at"),
  completedAt: text("completed_at"),
  status: text("status", { enum: EXECUTION_STATES }).notNull().default("running"),
  result: text("result", { mode: "json" }),
});

export type TaskState = (typeof TASK_STATES)[number];
export type Priority = (typeof PRIORITIES)[number];
