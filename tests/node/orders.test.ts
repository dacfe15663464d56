// What docs/nextjs.md says of each client, tried with the client that CLIENT names.
import assert from "node:assert/strict";
import { after, test } from "node:test";

import type { Payload } from "@/lib/generation";
import { refusal } from "@/lib/refusal";

const KITE: Payload = { prompt: "a {{colour}} kite", inputs: { colour: "red" } };
const NOBODYS = "00000000-0000-4000-8000-000000000000";
const CLIENTS = {
  pg: async () => {
    const app = await import("@/lib/orders-pg");
    return { ...app, query: (text: string) => app.pool.query(text).then((r) => r.rows), end: () => app.pool.end() };
  },
  drizzle: async () => {
    const app = await import("@/lib/orders-drizzle");
    return { ...app, query: (text: string) => app.db.execute(text).then((r) => r.rows), end: () => app.db.$client.end() };
  },
  prisma: async () => {
    const app = await import("@/lib/orders-prisma");
    return {
      ...app,
      query: (text: string) => app.prisma.$queryRawUnsafe<Record<string, unknown>[]>(text),
      end: () => app.prisma.$disconnect(),
    };
  },
};
const app = await CLIENTS[process.env.CLIENT as keyof typeof CLIENTS]();
after(app.end);

async function count(what: string): Promise<number> {
  const [row] = await app.query(`SELECT count(*)::int AS n FROM ${what}`);
  return Number(row.n);
}

async function refused(attempt: Promise<unknown>) {
  const error = await attempt.then(() => assert.fail("it was not refused"), (reason: unknown) => reason);
  return refusal(error);
}

test("an order and its job are there together", async () => {
  const job = await app.orderImage("ada", "one", KITE);
  assert.deepEqual({ ...job, id: "" }, { id: "", status: "pending", duplicate: false });
  assert.equal(await count(`orders WHERE user_id = 'ada' AND key = 'one' AND job_id = '${job.id}'`), 1);
  assert.equal(await count(`generation.generation_job WHERE user_id = 'ada' AND id = '${job.id}'`), 1);
});

test("the same key is the same job", async () => {
  const first = await app.orderImage("ada", "twice", KITE);
  const again = await app.orderImage("ada", "twice", KITE);
  assert.deepEqual([again.id, first.duplicate, again.duplicate], [first.id, false, true]);
});

test("an order that fails takes its job with it", async () => {
  const before = await count("generation.generation_job");
  const error = await app.orderImage("ada", "fails after it is enqueued", KITE).then(
    () => assert.fail("the order went through"),
    (reason: unknown) => reason,
  );
  assert.match(String((error as Error).cause ?? error), /the shop is closed/);
  assert.equal(refusal(error), undefined);
  assert.equal(await count("generation.generation_job"), before);
  assert.equal(await count("orders WHERE key = 'fails after it is enqueued'"), 0);
});

test("a refusal says why, and takes the order with it", async () => {
  const [jobs, orders] = [await count("generation.generation_job"), await count("orders")];
  const poor = await refused(app.orderImage("eve", "poor", KITE));
  assert.deepEqual([poor?.status, poor?.sqlstate], [402, "GW005"]);
  assert.match(poor!.message, /eve/);
  const wrong = await refused(app.orderImage("ada", "wrong", { prompt: "a {{colour}} kite" }));
  assert.deepEqual([wrong?.status, wrong?.sqlstate], [400, "GW006"]);
  assert.match(wrong!.message, /^payload\.prompt: has no input for \{\{colour\}\}/);
  assert.deepEqual([await count("generation.generation_job"), await count("orders")], [jobs, orders]);
  await app.orderImage("ada", "other", KITE);
  const other = await refused(app.orderImage("ada", "other", { prompt: "a blue kite" }));
  assert.deepEqual([other?.status, other?.sqlstate], [409, "GW004"]);
});

test("a job has a place in line, and is its user's only", async () => {
  const first = await app.orderImage("ada", "first", KITE);
  const second = await app.orderImage("ada", "second", KITE);
  const [one, two] = [await app.readJob("ada", first.id), await app.readJob("ada", second.id)];
  assert.equal(one!.status, "pending");
  assert.equal(two!.jobs_before, one!.jobs_before! + 1);
  assert.equal(one!.jobs_before, await count(`generation.generation_job WHERE status = 'pending' AND (position, id) <
    (SELECT position, id FROM generation.generation_job WHERE id = '${first.id}')`));
  assert.equal(await app.readJob("eve", first.id), undefined);
  assert.equal(await app.readJob("ada", NOBODYS), undefined);
});

test("a completed job has its result", async () => {
  const job = await app.readJob("ada", process.env.COMPLETED!);
  assert.equal(job!.status, "completed");
  assert.equal(job!.jobs_before, null);
  assert.equal(job!.result!.images[0].key, "a.webp");
});

test("a failed job says why", async () => {
  const job = await app.readJob("ada", process.env.FAILED!);
  assert.deepEqual([job!.status, job!.error_code, job!.error_message], ["failed", "content_blocked", "no kites here"]);
});

test("a user stops their own job, and nobody else's", async () => {
  const job = await app.orderImage("ada", "stopped", KITE);
  assert.equal(await app.cancelJob("eve", job.id), undefined);
  assert.equal((await app.readJob("ada", job.id))!.status, "pending");
  assert.deepEqual({ ...(await app.cancelJob("ada", job.id)) }, { status: "cancelled", cancel_requested: true });
  assert.equal((await app.readJob("ada", job.id))!.status, "cancelled");
});
