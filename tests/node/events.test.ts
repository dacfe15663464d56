// The live updates of docs/nextjs.md: an EventSource at the app's route, and the worker's API behind that.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { test } from "node:test";

import { GET } from "@/app/api/generation-events/route";
import { follow, type JobEvent } from "@/lib/follow";
import { signIn } from "@/lib/session";
import { cancelJob, orderImage } from "@/lib/worker-api";

test("a page hears of its user's jobs, and of no others", async () => {
  signIn("ada");
  const gone = new AbortController();
  const app = createServer(async (_request, answer) => {
    const said = await GET(new Request("http://shop.test/api/generation-events", { signal: gone.signal }));
    answer.writeHead(said.status, Object.fromEntries(said.headers));
    Readable.fromWeb(said.body as never).on("error", () => answer.destroy()).pipe(answer);
  });
  await once(app.listen(0, "127.0.0.1"), "listening");
  const heard: JobEvent[] = [];
  const stop = follow(`http://127.0.0.1:${(app.address() as AddressInfo).port}`, (job) => heard.push(job));
  try {
    const theirs = await orderImage("eve", "live", { prompt: "a moor" });
    const job = await orderImage("ada", "live", { prompt: "a tram" });
    await until(() => heard.some(({ id, status }) => id === job.id && status === "pending"));
    await cancelJob(job.id);
    await until(() => heard.some(({ id, status }) => id === job.id && status === "cancelled"));
    assert.deepEqual(heard.filter(({ id }) => id === theirs.id), []);
  } finally {
    stop();
    gone.abort();
    app.closeAllConnections();
    app.close();
  }
});

test("who is not signed in hears nothing", async () => {
  signIn(null);
  assert.equal((await GET(new Request("http://shop.test/api/generation-events"))).status, 401);
});

async function until(happened: () => boolean): Promise<void> {
  const end = Date.now() + 30_000;
  while (!happened()) {
    assert.ok(Date.now() < end, "it never happened");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
