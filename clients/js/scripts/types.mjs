// Generates the package's types: those of the API from docs/openapi.json, and the declarations of the code from its
// JSDoc comments.
//
//   npm run types --workspace @glimpse-video/client

import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import openapi, { astToString } from "openapi-typescript";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const DOCUMENT = new URL("../../../docs/openapi.json", import.meta.url);
export const typesFolder = join(ROOT, "types");

/** The text of `types/openapi.d.ts`. */
export async function generateApiTypes() {
  return `// Types of the API, generated from docs/openapi.json by scripts/types.mjs.\n\n${astToString(await openapi(DOCUMENT))}`;
}

/** Writes the declarations of the code into a folder. @throws if the code has type errors, which are printed */
export function generateTypes(folder) {
  const compiler = fileURLToPath(import.meta.resolve("typescript/bin/tsc"));
  execFileSync(process.execPath, [compiler, "--project", ROOT, "--outDir", folder], { stdio: ["ignore", "inherit", "inherit"] });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  rmSync(typesFolder, { recursive: true, force: true });
  mkdirSync(typesFolder);
  writeFileSync(join(typesFolder, "openapi.d.ts"), await generateApiTypes());
  generateTypes(typesFolder);
}
