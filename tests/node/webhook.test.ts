// The webhook's route of docs/nextjs.md, which is sent what Python has signed.
import assert from "node:assert/strict";
import { after, test } from "node:test";

import { POST } from "@/app/api/generation-webhook/route";
import { orderImage, pool } from "@/lib/orders-pg";

type Sent = { body: string; headers: Record<string, string> };
const messages: Record<string, Sent> = JSON.parse(process.env.MESSAGES!);
const { id } = await orderImage("ada", "told", { prompt: "a bell" });
after(() => pool.end());

const send = async ({ body, headers }: Sent) =>
  (await POST(new Request("http://shop.test/api/generation-webhook", { method: "POST", headers, body }))).status;
const finished = async () => {
  await pool.query("UPDATE orders SET job_id = $1 WHERE job_id = $2", [process.env.JOB, id]);
  const found = await pool.query<{ finished_as: string | null }>("SELECT finished_as FROM orders WHERE key = 'told'");
  return found.rows[0].finished_as;
};

for (const name of ["forged", "changed", "old", "unsigned"]) {
  test(`a message that is ${name} is refused`, async () => {
    assert.equal(await finished(), null);
    assert.equal(await send(messages[name]), 401);
    assert.equal(await finished(), null);
  });
}

test("one of a kind that the app does not know changes nothing", async () => {
  assert.equal(await send(messages.unknown), 204);
  assert.equal(await finished(), null);
});

test("one that is genuine is kept, also while the secret is exchanged and when it comes twice", async () => {
  assert.equal(await send(messages.genuine), 204);
  assert.equal(await finished(), "cancelled");
  assert.equal(await send(messages.genuine), 204);
  assert.equal(await finished(), "cancelled");
});
