// The HTTP client of docs/nextjs.md against the worker's own API.
import assert from "node:assert/strict";
import { test } from "node:test";

import { cancelJob, orderImage, readJob, WorkerRefused } from "@/lib/worker-api";

test("a job is enqueued once, looked at and stopped", async () => {
  const job = await orderImage("ada", "http", { prompt: "a {{sea}}", inputs: { sea: "calm sea" } });
  assert.equal(job.status, "pending");
  assert.equal((await orderImage("ada", "http", { prompt: "a {{sea}}", inputs: { sea: "calm sea" } })).id, job.id);
  const looked = await readJob(job.id);
  assert.deepEqual([looked.id, looked.status, looked.queue_position], [job.id, "pending", job.queue_position]);
  assert.equal((await cancelJob(job.id)).status, "cancelled");
});

test("a refusal says why", async () => {
  const refused = (await orderImage("eve", "poor", { prompt: "a moor" }).catch((error) => error)) as WorkerRefused;
  assert.ok(refused instanceof WorkerRefused);
  assert.deepEqual([refused.status, refused.code], [402, "insufficient_credits"]);
  assert.match(refused.message, /eve/);
});

test("a key of one user is for no other", async () => {
  process.env.WORKER_KEY = process.env.KEY_OF_EVE;
  const refused = (await orderImage("ada", "not mine", { prompt: "a moor" }).catch((error) => error)) as WorkerRefused;
  assert.ok([403, 404].includes(refused.status));
});
