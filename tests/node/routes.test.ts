// The routes and the action of docs/nextjs.md.
import assert from "node:assert/strict";
import { after, beforeEach, test } from "node:test";

import { orderImageAction } from "@/app/actions";
import * as one from "@/app/api/images/[id]/route";
import { POST } from "@/app/api/images/route";
import { pool } from "@/lib/orders-pg";
import { signIn } from "@/lib/session";

after(() => pool.end());
beforeEach(() => signIn("ada"));

const order = (key: string | undefined, prompt: string) =>
  POST(
    new Request("http://shop.test/api/images", {
      method: "POST",
      headers: { "content-type": "application/json", ...(key ? { "idempotency-key": key } : {}) },
      body: JSON.stringify({ prompt }),
    }),
  );
const ask = (method: "GET" | "DELETE", id: string) =>
  one[method](new Request(`http://shop.test/api/images/${id}`, { method }), { params: Promise.resolve({ id }) });

test("an image is ordered, looked at and stopped", async () => {
  const ordered = await order("route", "a tram");
  assert.equal(ordered.status, 202);
  const { id } = (await ordered.json()) as { id: string };
  const looked = await ask("GET", id);
  assert.deepEqual([looked.status, ((await looked.json()) as { status: string }).status], [200, "pending"]);
  const stopped = await ask("DELETE", id);
  assert.deepEqual(await stopped.json(), { status: "cancelled", cancel_requested: true });
});

test("what is refused is answered as the page says", async () => {
  assert.equal((await order("taken", "a tram")).status, 202);
  const other = await order("taken", "a bus");
  assert.deepEqual([other.status, Object.keys((await other.json()) as object)], [409, ["error"]]);
  assert.equal((await order("empty", "")).status, 400);
  assert.equal((await order(undefined, "a tram")).status, 400);
  signIn("eve");
  assert.equal((await order("poor", "a tram")).status, 402);
});

test("nobody sees another's image, or one without an id", async () => {
  const { id } = (await (await order("mine", "a tram")).json()) as { id: string };
  signIn("eve");
  assert.equal((await ask("GET", id)).status, 404);
  assert.equal((await ask("DELETE", id)).status, 404);
  assert.equal((await ask("GET", "no-id")).status, 404);
  signIn(null);
  assert.equal((await ask("GET", id)).status, 401);
  assert.equal((await order("nobody", "a tram")).status, 401);
});

test("an action enqueues once however often the form is sent", async () => {
  const form = new FormData();
  form.set("key", "form");
  form.set("prompt", "a ferry");
  const first = await orderImageAction({}, form);
  assert.match(first.jobId!, /^[0-9a-f-]{36}$/);
  assert.deepEqual(await orderImageAction({}, form), first);
  form.set("prompt", "a ferry at night");
  assert.match((await orderImageAction({}, form)).error!, /idempotency_key/);
  signIn(null);
  assert.deepEqual(await orderImageAction({}, form), { error: "Sign in first." });
});
