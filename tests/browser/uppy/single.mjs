// Single uploads by `GET /s3/params`: a clip is processed, and six files are uploaded concurrently.

import { expectAtLeast, expectEqual } from "../page-helpers.mjs";

export const single = [
  ["a clip in a single upload is processed", async (stage) => {
    await stage.open();
    await stage.app.add({ name: "Ski trip.mp4", type: "video/mp4", address: `${stage.origin}clip.mp4` });
    await stage.app.upload();
    const [file] = await stage.uploaded();
    // In that mode a function of the app signs, and requests the form by `presign`.
    const endpoint = stage.way === "sign" ? "presign" : "params";
    expectEqual(stage.wire.count(endpoint, 200), 1, `calls of /s3/${endpoint}`);
    expectEqual(stage.wire.count("form", 201), 1, "forms that S3 accepted");
    const video = await stage.settled(file.body.key.split("/").pop());
    expectEqual(video.state, "ready", "state");
    expectEqual(video.name, "Ski trip.mp4", "name");
  }],

  ["six concurrent uploads are not mixed up", async (stage) => {
    const files = [1, 2, 3, 4, 5, 6].map((n) => ({ name: `side by side ${n}.mp4`, type: "video/mp4", bytes: 1024 * 1024 + n }));
    await stage.open();
    for (const file of files) await stage.app.add(file);
    const restore = await stage.throttle(8 * 1024 * 1024);
    await stage.app.upload();
    const done = await stage.uploaded();
    await restore();
    expectEqual(done.length, files.length, "files");
    const ids = await Promise.all(done.map((file) => stage.expectStored(file, files.find(({ name }) => name === file.name))));
    expectEqual(new Set(ids).size, files.length, "videos");
    expectAtLeast(stage.wire.peak(), 4, "concurrent uploads");
  }],
];
