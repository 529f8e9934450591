// Sizes at the limits of S3's rules: an empty file, exactly one part, one byte more, and more than Uppy sends in a
// single upload.

import { eventually, expectEqual, expectMatch } from "../page-helpers.mjs";

const MIB = 1024 * 1024;
const KIND = { type: "video/mp4" };

/** Uploads files of these sizes, and returns the number of parts of each. */
async function upload(stage, sizes, plugin) {
  await stage.open({ plugin });
  const files = sizes.map((bytes) => ({ ...KIND, name: `${bytes} bytes.mp4`, bytes }));
  for (const file of files) await stage.app.add(file);
  await stage.app.upload();
  const done = await stage.uploaded();
  expectEqual(done.length, files.length, "files");
  for (const file of done) await stage.expectStored(file, files.find(({ name }) => name === file.name));
  return done.map(({ name, body }) => {
    const parts = stage.wire.calls.filter(({ kind, path }) => kind === "part" && path.endsWith(body.key));
    return `${name}: ${parts.length}`;
  }).sort();
}

export const sizes = [
  ["5 MiB and 5 MiB + 1 are single uploads by default", async (stage) => {
    const parts = await upload(stage, [5 * MIB, 5 * MIB + 1], {});
    expectEqual(parts.join(), "5242880 bytes.mp4: 0,5242881 bytes.mp4: 0", "parts");
  }],

  ["5 MiB are one part, and one byte more is a second one", async (stage) => {
    const parts = await upload(stage, [1, 5 * MIB, 5 * MIB + 1], { shouldUseMultipart: true });
    expectEqual(parts.join(), "1 bytes.mp4: 1,5242880 bytes.mp4: 1,5242881 bytes.mp4: 2", "parts");
  }],

  ["150 MiB are sent in 30 parts by default", async (stage) => {
    const parts = await upload(stage, [150 * MIB], {});
    expectEqual(parts.join(), "157286400 bytes.mp4: 30", "parts");
  }],

  ["an empty file is rejected by S3, and nothing is stored", async (stage) => {
    const before = await stage.bucket.keys();
    await stage.open({ excused: [/^400 /, /^\[Uppy\]/] });
    await stage.app.add({ ...KIND, name: "empty.mp4", bytes: 0 });
    await stage.app.upload();
    const { failed } = await stage.outcome();
    expectEqual(failed.length, 1, "files that failed");
    expectEqual((await stage.bucket.keys()).join(), before.join(), "objects");
  }],

  ["an empty file in parts is rejected with a message, and leaves nothing behind", async (stage, generation) => {
    await stage.open({ plugin: { shouldUseMultipart: true }, excused: [/^4\d\d /, /^\[Uppy\]/] });
    await stage.app.add({ ...KIND, name: "empty.mp4", bytes: 0 });
    await stage.app.upload();
    const { failed } = await stage.outcome();
    // v6 never sends an empty file in parts.
    if (generation !== "v6") expectMatch(failed[0]?.error, /empty/i, "the error message");
    await eventually("S3 has no unfinished upload", async () => (await stage.bucket.unfinished()).length === 0);
  }],
];
