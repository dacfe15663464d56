// lib/trace.ts of docs/nextjs.md, in an app with OpenTelemetry and in one without.
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { after, test } from "node:test";

import { context, ROOT_CONTEXT, trace, type Context, type ContextManager, type SpanContext } from "@opentelemetry/api";

import { pool } from "@/lib/orders-pg";
import { traceparent } from "@/lib/trace";

after(() => pool.end());

const SPAN: SpanContext = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  traceFlags: 1,
};

/** What an SDK brings: which span one is in. */
class Contexts implements ContextManager {
  readonly storage = new AsyncLocalStorage<Context>();
  active = () => this.storage.getStore() ?? ROOT_CONTEXT;
  with = <A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    inner: Context,
    run: F,
    self?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> => this.storage.run(inner, () => run.apply(self, args));
  bind = <T>(_context: Context, target: T): T => target;
  enable = () => this;
  disable = () => this;
}

const inSpan = <T>(span: SpanContext, run: () => T): T =>
  context.with(trace.setSpanContext(ROOT_CONTEXT, span), run);

test("without OpenTelemetry there is none", () => assert.equal(traceparent(), null));

test("in a span it is that one", () => {
  assert.ok(context.setGlobalContextManager(new Contexts()));
  assert.equal(traceparent(), null);
  assert.equal(inSpan(SPAN, traceparent), `00-${SPAN.traceId}-${SPAN.spanId}-01`);
  assert.equal(inSpan({ ...SPAN, traceFlags: 2 }, traceparent), `00-${SPAN.traceId}-${SPAN.spanId}-00`);
  assert.equal(inSpan({ ...SPAN, traceId: "0".repeat(32) }, traceparent), null);
});

test("the database takes it, and takes none", async () => {
  const enqueue = (value: string | null) =>
    pool.query(
      `SELECT id FROM generation.enqueue_generation(
         kind => 'text_to_image', user_id => 'ada', payload => '{"prompt": "a bell"}', traceparent => $1)`,
      [value],
    );
  assert.equal((await enqueue(inSpan(SPAN, traceparent))).rowCount, 1);
  assert.equal((await enqueue(traceparent())).rowCount, 1);
});
