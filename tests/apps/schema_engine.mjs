// Prisma's schema engine in its WASM build, where the CLI starts the native one: JSON-RPC, one line a message.
//
// npm serves the WASM build; the native one is a download from elsewhere, and the CLI has no setting to do without it.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import { PrismaPg } from "@prisma/adapter-pg";
import { bindMigrationAwareSqlAdapterFactory, ColumnTypeEnum } from "@prisma/driver-adapter-utils";
import * as bindings from "@prisma/schema-engine-wasm/schema_engine_bg";

const CHAR = 18; // the catalog's "char": the engine needs it, the adapter does not know it
const TEXT = 25;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  strict: false,
  options: { datamodels: { type: "string", multiple: true }, datasource: { type: "string" } },
});

/** The adapter for the address that the CLI passes. As in the native engine, `?schema=` is the app's schema. */
async function connect() {
  const url = new URL(JSON.parse(values.datasource).url);
  const [user, password, database] = [url.username, url.password, url.pathname.slice(1)].map(decodeURIComponent);
  const server = { host: url.hostname, port: Number(url.port || 5432), user, password };
  const options = { schema: url.searchParams.get("schema") ?? undefined };

  const main = await new PrismaPg({ ...server, database }, options).connect();
  let prototype = Object.getPrototypeOf(main);
  while (!Object.hasOwn(prototype, "queryRaw")) prototype = Object.getPrototypeOf(prototype);
  prototype.queryRaw = withChars(prototype.queryRaw);

  const factory = new PrismaPg({ ...server, database }, options);
  // The adapter's own drops the shadow database while it is connected to it, which fails.
  factory.connectToShadowDb = async () => {
    const name = `prisma_migrate_shadow_db_${crypto.randomUUID()}`;
    await main.executeScript(`CREATE DATABASE "${name}"`);
    const shadow = await new PrismaPg({ ...server, database: name }, options).connect();
    const disconnect = shadow.dispose.bind(shadow);
    shadow.dispose = async () => {
      await disconnect();
      await main.executeScript(`DROP DATABASE "${name}"`);
    };
    return shadow;
  };
  return bindMigrationAwareSqlAdapterFactory(factory);
}

/** `queryRaw`, with columns of the type "char" as the engine expects them. */
function withChars(queryRaw) {
  return async function (query) {
    const chars = [];
    const performIO = async (sent) => {
      const answer = await this.performIO(sent);
      answer.fields.forEach((field, index) => {
        if (field.dataTypeID !== CHAR) return;
        field.dataTypeID = TEXT;
        chars.push(index);
      });
      return answer;
    };
    const result = await queryRaw.call(Object.create(this, { performIO: { value: performIO } }), query);
    for (const index of chars) result.columnTypes[index] = ColumnTypeEnum.Character;
    return result;
  };
}

function load(adapter) {
  globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: log };
  const file = new URL("schema_engine_bg.wasm", import.meta.resolve("@prisma/schema-engine-wasm"));
  const imports = { "./schema_engine_bg.js": bindings };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), imports);
  bindings.__wbg_set_wasm(exports);
  exports.__wbindgen_start();
  const datamodels = (values.datamodels ?? []).map((path) => [path, readFileSync(path, "utf8")]);
  return bindings.SchemaEngine.new({ datamodels: datamodels.length ? datamodels : undefined }, () => {}, adapter);
}

async function answer(engine, { method, params }) {
  try {
    return { result: (await engine[method](params)) ?? null };
  } catch (error) {
    const data = { is_panic: false, message: String(error.message ?? error), error_code: error.code ?? null };
    return { error: { code: 4466, message: data.message, data } };
  }
}

/** The CLI reads lines like this one, and prints the last if the engine ends with an error. */
function log(message) {
  process.stderr.write(`${JSON.stringify({ level: "ERROR", fields: { message: String(message) } })}\n`);
}

process.on("uncaughtException", (error) => {
  log(error.stack);
  process.exit(1);
});
const adapter = await connect();
if (positionals[0] === "cli") process.exit(0); // can-connect-to-database
const engine = await load(adapter);
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", id: request.id, ...(await answer(engine, request)) })}\n`);
}
process.exit(0);
