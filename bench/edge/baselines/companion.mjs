// Starts Companion for a measurement: as a library in Express, without a log, a session or any authentication, which is
// less work than its own program does.

import * as companion from "@uppy/companion";
import express from "express";

const [port, region, bucket, key, secret, folder] = process.argv.slice(2);

const { app } = companion.app({
  server: { host: `127.0.0.1:${port}`, protocol: "http" },
  filePath: folder,
  secret: "a secret for measurements only",
  uploadUrls: ["https://video.example"],
  corsOrigins: ["https://app.example"],
  metrics: false,
  s3: { key, secret, bucket, region, expires: 900 },
});
express().use(app).listen(Number(port), "127.0.0.1");
