// The bindings of wrangler.toml: the worker's own database, queue and stores, and its API.

/** Says that there is work.  The database decides which, so the task's id is only for tracing. */
export interface Doorbell {
  v: 1;
  task?: number;
}

export interface Env {
  DB: D1Database;
  DOORBELLS: Queue<Doorbell>;
  STATUS: KVNamespace;
  BLOBS: R2Bucket;
  /** The task worker, for its API. */
  TASKS: Fetcher;
  /** An API key of the role `member` or higher: a secret. */
  BIZQ_KEY: string;
  /** Where the API is if not behind TASKS: set on a developer's machine only. */
  BIZQ_URL?: string;
}
