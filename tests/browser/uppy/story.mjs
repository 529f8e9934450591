// Requests S3 faults from the test that started the script (tests/e2e/uppy.rs): a line on standard output, and a line
// on standard input as confirmation. The faulty responses are S3's own.

import { createInterface } from "node:readline";

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Makes S3 respond to the next requests with this method with 503 SlowDown. */
export async function slowDown(method, times) {
  console.log(`stumble ${method} ${times}`);
  const { value } = await answers.next();
  if (value !== "done") throw new Error(`the test responded with ${value}`);
}
