// Error messages for rejections by the edge: the edge's own message if the Uppy version passes it on.

import { expectEqual, expectMatch } from "../page-helpers.mjs";

const PAGE = { name: "page.html", type: "text/html", bytes: 100 };

/** v6 in Companion mode shows only the status; v4, v5 and an app's own `signRequest` show the problem's `message`. */
const WORDS = {
  bearer: /Files of type text\/html are not accepted/,
  sign: /Files of type text\/html are not accepted/,
  path: /Companion request failed: Unsupported Media Type/,
};

async function refused(stage, plugin) {
  await stage.open({ plugin, excused: [/^4\d\d /, /^\[Uppy\]/] });
  await stage.app.add(PAGE);
  await stage.app.upload();
  const { failed } = await stage.outcome();
  expectMatch(failed[0]?.error, WORDS[stage.way], "the error message");
  expectEqual(stage.wire.count("form") + stage.wire.count("part"), 0, "requests to S3");
}

export const refusals = [
  ["a type that is not allowed is rejected before the upload, with a message", (stage) => refused(stage, {})],
  ["the same for multipart uploads", (stage) => refused(stage, { shouldUseMultipart: true })],
];
