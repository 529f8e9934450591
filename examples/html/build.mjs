// Copies the page to dist/. There is nothing to build.

import { cp, mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await mkdir(here("dist"), { recursive: true });
await cp(here("index.html"), here("dist/index.html"));
await cp(here("../shared/style.css"), here("dist/style.css"));
