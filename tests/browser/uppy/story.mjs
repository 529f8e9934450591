// Decides how a scenario asks the story that started it (tests/e2e/uppy.rs) to make S3 stumble: a line on standard
// output, and a line on standard input when it is done. What S3 then answers are its own bytes.

import { createInterface } from "node:readline";

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** The next so many requests of the method to S3 are answered with 503 SlowDown. */
export async function slowDown(method, times) {
  console.log(`stumble ${method} ${times}`);
  const { value } = await answers.next();
  if (value !== "done") throw new Error(`the story answered ${value}`);
}
