// Bundles the page into dist/.

import { fileURLToPath } from "node:url";

import { bundle } from "../shared/build.mjs";

await bundle(fileURLToPath(new URL(".", import.meta.url)), "main.jsx", { jsx: "automatic" });
