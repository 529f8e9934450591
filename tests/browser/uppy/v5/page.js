// Configures Uppy v5 for Glimpse: `endpoint`, and a bearer token in `headers`.

import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";
import GoldenRetriever from "@uppy/golden-retriever";

import { app } from "../app.js";

app({
  Uppy,
  AwsS3,
  GoldenRetriever,
  server: ({ edge, bearer }) => ({ endpoint: edge, headers: { Authorization: `Bearer ${bearer}` } }),
});
