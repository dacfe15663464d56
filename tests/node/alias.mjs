// "@/lib/orders" is a file of the project, as in an app that create-next-app has made.
import { existsSync } from "node:fs";
import { registerHooks } from "node:module";
import { pathToFileURL } from "node:url";

registerHooks({
  resolve(name, context, next) {
    if (!name.startsWith("@/")) return next(name, context);
    const path = `${process.cwd()}/${name.slice(2)}`;
    return next(pathToFileURL(existsSync(`${path}.ts`) ? `${path}.ts` : path).href, context);
  },
});
