// Decides how an app with Uppy v6 is told where Glimpse is. Its Companion mode can set no header, so there are three ways: a
// token in the path, a session cookie of the same origin, or a function of the app's own that signs.

import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";
import GoldenRetriever from "@uppy/golden-retriever";

import { app } from "../app.js";

const ways = {
  path: ({ tokenUrl }) => ({ companionEndpoint: tokenUrl }),
  // What a base URL with a slash at its end becomes: `//s3/…`.
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
