// Configures Uppy v6 for Glimpse. Its Companion mode cannot set headers, so there are three ways: a token in the path,
// a session cookie of the same origin, or a signing function of the app.

import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";
import GoldenRetriever from "@uppy/golden-retriever";

import { app } from "../app.js";

const ways = {
  path: ({ tokenUrl }) => ({ companionEndpoint: tokenUrl }),
  // A base URL with a trailing slash results in `//s3/…`.
  slash: ({ tokenUrl }) => ({ companionEndpoint: `${tokenUrl}/` }),
  cookie: ({ edge }) => ({ companionEndpoint: edge }),
  sign: ({ edge, bearer }) => ({
    async signRequest(request) {
      const response = await fetch(`${edge}/s3/presign`, {
        method: "POST",
        headers: { Authorization: `Bearer ${bearer}`, "Content-Type": "application/json" },
        body: JSON.stringify(request),
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.message);
      return answer;
    },
  }),
};

app({ Uppy, AwsS3, GoldenRetriever, server: (stack, way) => ways[way](stack) });
