// What wrangler.toml binds: the worker's own database, queue and stores.

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
}
