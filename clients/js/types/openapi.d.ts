// Types of the API, generated from docs/openapi.json by scripts/types.mjs.

export interface paths {
    "/api/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The caller, and the limits of its uploads
         * @description With an upload token, the limits are those of the token.
         */
        get: operations["me"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * OpenAPI document
         * @description The OpenAPI 3.1 document of all operations. Pages of any origin can read it.
         */
        get: operations["openapi"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/upload-tokens": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Issue an upload token
         * @description The token permits uploads within its limits, below `url`, and nothing else. All members are optional.
         */
        post: operations["mintUploadToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/uploads": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the caller's unfinished multipart uploads
         * @description To resume one (list its parts, sign and send the rest, complete it) or to cancel it.
         */
        get: operations["listUploads"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/videos": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List the caller's videos, newest first */
        get: operations["listVideos"];
        /**
         * Upload a video in one request
         * @description The body is the file (`curl -T clip.mp4`), which streams through the Worker. Cloudflare accepts bodies of up to 100 MB on its Free and Pro plans.
         */
        put: operations["sendVideo"];
        /**
         * Upload a video
         * @description With JSON that describes a file: returns a presigned PUT to S3, valid for one file of exactly that length and type.
         *
         *     With a form (`curl -F file=@clip.mp4`), or with the file itself and its name in the query: the file streams through the Worker. Cloudflare accepts bodies of up to 100 MB on its Free and Pro plans; upload larger files directly to S3.
         */
        post: operations["createVideo"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/videos/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Upload a video in one request, with its name in the path
         * @description The body is the file (`curl -T clip.mp4`), which streams through the Worker. Cloudflare accepts bodies of up to 100 MB on its Free and Pro plans.
         */
        put: operations["sendNamedVideo"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/videos/{video}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * State and URLs of a video
         * @description A video of another owner is not found. With an upload token, only state and problem are returned.
         */
        get: operations["showVideo"];
        put?: never;
        post?: never;
        /**
         * Delete a video permanently
         * @description Deletes source, images and unfinished uploads; requests for its images then return 410. A second request finds and deletes nothing.
         */
        delete: operations["deleteVideo"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/videos/{video}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Watch a video until its outcome
         * @description Server-sent events `uploading`, `uploaded`, `processing`, then `ready`, `rejected` or `failed`; the data of each is the video, with an upload token its state and problem only. The stream ends with the outcome, or after half a minute: a browser reconnects by itself, and receives 204 once it has received the outcome.
         */
        get: operations["watchVideo"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/videos/{video}/poster": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Choose another poster
         * @description Any frame of the video.
         */
        put: operations["setPoster"];
        post?: never;
        /** Restore the best frame as the poster */
        delete: operations["resetPoster"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/videos/{video}/tokens": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Issue delivery tokens for a private video
         * @description A token gives access to one kind of image with exactly these parameters. All members are optional.
         */
        post: operations["mintDeliveryTokens"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/auth/callback": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Callback of the provider
         * @description The provider redirects the browser here. Register this URL at the provider; no program needs to call it.
         */
        get: operations["callback"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/auth/login": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Sign in with a browser
         * @description Redirects the browser to the OpenID provider: authorization code flow with PKCE.
         */
        get: operations["login"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/auth/logout": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Sign out
         * @description The session at the provider is not affected.
         */
        post: operations["logout"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/health": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Health check
         * @description Without requests to other services.
         */
        get: operations["health"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/oembed": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Embed a video in another site
         * @description oEmbed 1.0, <https://oembed.com>.
         */
        get: operations["oembed"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/s3/multipart": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Create a multipart upload
         * @description The first request for a file that is uploaded in parts: then sign and send the parts, and complete the upload.
         */
        post: operations["createMultipart"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/s3/multipart/{uploadId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the uploaded parts
         * @description All parts, in the order of their numbers. The parts of a completed upload have the ETag of the file; completing it again with them returns the same response.
         */
        get: operations["listParts"];
        put?: never;
        post?: never;
        /**
         * Abort an upload
         * @description A completed or aborted upload counts as aborted.
         */
        delete: operations["abortMultipart"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/s3/multipart/{uploadId}/batch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Sign several parts */
        get: operations["signParts"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/s3/multipart/{uploadId}/complete": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Complete a multipart upload
         * @description The sizes of the parts are added up first: an upload that is too large is aborted. S3's XML is also accepted, with a response in XML. After a lost response, a retry with the same parts returns the same response.
         */
        post: operations["completeMultipart"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/s3/multipart/{uploadId}/{part}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Sign one part
         * @description Only part numbers that the largest allowed file can have are signed.
         */
        get: operations["signPart"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/s3/params": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * POST form for one file
         * @description For a single-request upload. S3 enforces the key, the type and the range of lengths. For storage without POST forms, a PUT of exactly the declared length. Of other parameters, such as Uppy's `metadata[…]`, only `metadata[size]` is used, for `size`.
         */
        get: operations["uppyParams"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/s3/presign": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Presign an S3 request
         * @description For Uppy v6's `signRequest`: PUT a file or a part, POST to create or complete a multipart upload, GET its parts, DELETE it. The edge chooses the key of a new upload.
         */
        post: operations["presign"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/api/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The caller, and the limits of its uploads
         * @description With an upload token, the limits are those of the token.
         */
        get: operations["meWithToken"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/api/videos": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Upload a video in one request
         * @description The body is the file (`curl -T clip.mp4`), which streams through the Worker. Cloudflare accepts bodies of up to 100 MB on its Free and Pro plans.
         */
        put: operations["sendVideoWithToken"];
        /**
         * Upload a video
         * @description With JSON that describes a file: returns a presigned PUT to S3, valid for one file of exactly that length and type.
         *
         *     With a form (`curl -F file=@clip.mp4`), or with the file itself and its name in the query: the file streams through the Worker. Cloudflare accepts bodies of up to 100 MB on its Free and Pro plans; upload larger files directly to S3.
         */
        post: operations["createVideoWithToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/api/videos/{name}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Upload a video in one request, with its name in the path
         * @description The body is the file (`curl -T clip.mp4`), which streams through the Worker. Cloudflare accepts bodies of up to 100 MB on its Free and Pro plans.
         */
        put: operations["sendNamedVideoWithToken"];
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/api/videos/{video}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * State and URLs of a video
         * @description A video of another owner is not found. With an upload token, only state and problem are returned.
         */
        get: operations["showVideoWithToken"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/api/videos/{video}/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Watch a video until its outcome
         * @description Server-sent events `uploading`, `uploaded`, `processing`, then `ready`, `rejected` or `failed`; the data of each is the video, with an upload token its state and problem only. The stream ends with the outcome, or after half a minute: a browser reconnects by itself, and receives 204 once it has received the outcome.
         */
        get: operations["watchVideoWithToken"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/s3/multipart": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Create a multipart upload
         * @description The first request for a file that is uploaded in parts: then sign and send the parts, and complete the upload.
         */
        post: operations["createMultipartWithToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/s3/multipart/{uploadId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the uploaded parts
         * @description All parts, in the order of their numbers. The parts of a completed upload have the ETag of the file; completing it again with them returns the same response.
         */
        get: operations["listPartsWithToken"];
        put?: never;
        post?: never;
        /**
         * Abort an upload
         * @description A completed or aborted upload counts as aborted.
         */
        delete: operations["abortMultipartWithToken"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/s3/multipart/{uploadId}/batch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Sign several parts */
        get: operations["signPartsWithToken"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/s3/multipart/{uploadId}/complete": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Complete a multipart upload
         * @description The sizes of the parts are added up first: an upload that is too large is aborted. S3's XML is also accepted, with a response in XML. After a lost response, a retry with the same parts returns the same response.
         */
        post: operations["completeMultipartWithToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/s3/multipart/{uploadId}/{part}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Sign one part
         * @description Only part numbers that the largest allowed file can have are signed.
         */
        get: operations["signPartWithToken"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/s3/params": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * POST form for one file
         * @description For a single-request upload. S3 enforces the key, the type and the range of lengths. For storage without POST forms, a PUT of exactly the declared length. Of other parameters, such as Uppy's `metadata[…]`, only `metadata[size]` is used, for `size`.
         */
        get: operations["uppyParamsWithToken"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/u/{token}/s3/presign": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Presign an S3 request
         * @description For Uppy v6's `signRequest`: PUT a file or a part, POST to create or complete a multipart upload, GET its parts, DELETE it. The edge chooses the key of a new upload.
         */
        post: operations["presignWithToken"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The video's page
         * @description With Open Graph and Twitter cards, which play the animation; it may be framed. The owner, or everyone by the deployment's `PLAYBACK`, can play the source. Only the owner can view the page of a private video: tokens do not apply.
         */
        get: operations["videoPage"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * The video's page, with a trailing slash
         * @description Redirects to the canonical URL.
         */
        get: operations["videoPageWithSlash"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/animated.gif": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Animation
         * @description Without parameters, snippets of the whole video, up to 320 pixels wide; with any, one part of up to 10 s. Without an extension, `Accept` selects WebP or GIF. The MP4 is H.264 without sound, for `<video muted autoplay loop playsinline>`.
         */
        get: operations["animatedGif"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/animated.mp4": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Animation
         * @description Without parameters, snippets of the whole video, up to 320 pixels wide; with any, one part of up to 10 s. Without an extension, `Accept` selects WebP or GIF. The MP4 is H.264 without sound, for `<video muted autoplay loop playsinline>`.
         */
        get: operations["animatedMp4"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/animated.webp": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Animation
         * @description Without parameters, snippets of the whole video, up to 320 pixels wide; with any, one part of up to 10 s. Without an extension, `Accept` selects WebP or GIF. The MP4 is H.264 without sound, for `<video muted autoplay loop playsinline>`.
         */
        get: operations["animatedWebp"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/clip.mp4": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Clip
         * @description Up to 60 s of the video with its sound, by default the first 10 s: H.264 is copied without decoding, other codecs are encoded, up to 10 s and 1280 pixels. At most 100000000 bytes.
         */
        get: operations["clipMp4"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/meta.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Metadata of a video
         * @description Size, duration, placeholder, and the URLs of its images. Only the owner can read those of a private video: tokens do not apply.
         */
        get: operations["videoMeta"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/original": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Download the source
         * @description For its owner. By the deployment's `PLAYBACK` also with a delivery token for the source (`token`, the default), or for everyone if the video is public (`public`).
         */
        get: operations["original"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/storyboard.jpg": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Storyboard
         * @description 50 tiles over the whole video on one sheet, 100 from 15 minutes on, or as many as `tiles` or `interval` requests; as `vtt`, `json` or `m3u8` (an HLS image media playlist) the table of the tiles. A sheet has at most 16777216 pixels.
         */
        get: operations["storyboardJpg"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/storyboard.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Storyboard
         * @description 50 tiles over the whole video on one sheet, 100 from 15 minutes on, or as many as `tiles` or `interval` requests; as `vtt`, `json` or `m3u8` (an HLS image media playlist) the table of the tiles. A sheet has at most 16777216 pixels.
         */
        get: operations["storyboardJson"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/storyboard.m3u8": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Storyboard
         * @description 50 tiles over the whole video on one sheet, 100 from 15 minutes on, or as many as `tiles` or `interval` requests; as `vtt`, `json` or `m3u8` (an HLS image media playlist) the table of the tiles. A sheet has at most 16777216 pixels.
         */
        get: operations["storyboardM3u8"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/storyboard.vtt": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Storyboard
         * @description 50 tiles over the whole video on one sheet, 100 from 15 minutes on, or as many as `tiles` or `interval` requests; as `vtt`, `json` or `m3u8` (an HLS image media playlist) the table of the tiles. A sheet has at most 16777216 pixels.
         */
        get: operations["storyboardVtt"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/storyboard.webp": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Storyboard
         * @description 50 tiles over the whole video on one sheet, 100 from 15 minutes on, or as many as `tiles` or `interval` requests; as `vtt`, `json` or `m3u8` (an HLS image media playlist) the table of the tiles. A sheet has at most 16777216 pixels.
         */
        get: operations["storyboardWebp"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/thumbnail.avif": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Thumbnail
         * @description Without parameters, the poster: the best frame, up to 640 pixels wide; with any, another still image. Without an extension, `Accept` selects the format: WebP or JPEG, and AVIF if the deployment's `NEGOTIATE` includes it. A PNG has at most 8294400 pixels (3840x2160), an AVIF 3686400 (2560x1440). An image that cannot be rendered is rejected for a day without another attempt, after a timeout for ten minutes.
         */
        get: operations["thumbnailAvif"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/thumbnail.jpg": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Thumbnail
         * @description Without parameters, the poster: the best frame, up to 640 pixels wide; with any, another still image. Without an extension, `Accept` selects the format: WebP or JPEG, and AVIF if the deployment's `NEGOTIATE` includes it. A PNG has at most 8294400 pixels (3840x2160), an AVIF 3686400 (2560x1440). An image that cannot be rendered is rejected for a day without another attempt, after a timeout for ten minutes.
         */
        get: operations["thumbnailJpg"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/thumbnail.png": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Thumbnail
         * @description Without parameters, the poster: the best frame, up to 640 pixels wide; with any, another still image. Without an extension, `Accept` selects the format: WebP or JPEG, and AVIF if the deployment's `NEGOTIATE` includes it. A PNG has at most 8294400 pixels (3840x2160), an AVIF 3686400 (2560x1440). An image that cannot be rendered is rejected for a day without another attempt, after a timeout for ten minutes.
         */
        get: operations["thumbnailPng"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/thumbnail.webp": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Thumbnail
         * @description Without parameters, the poster: the best frame, up to 640 pixels wide; with any, another still image. Without an extension, `Accept` selects the format: WebP or JPEG, and AVIF if the deployment's `NEGOTIATE` includes it. A PNG has at most 8294400 pixels (3840x2160), an AVIF 3686400 (2560x1440). An image that cannot be rendered is rejected for a day without another attempt, after a timeout for ten minutes.
         */
        get: operations["thumbnailWebp"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/thumbnails/thumbnail.gif": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Image by Cloudflare Stream's URL
         * @description Absent parameters have the defaults of Glimpse.
         */
        get: operations["streamAnimation"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/{video}/thumbnails/thumbnail.jpg": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Image by Cloudflare Stream's URL
         * @description Absent parameters have the defaults of Glimpse.
         */
        get: operations["streamThumbnail"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description An aborted multipart upload: an empty object, since Uppy parses one. */
        AbortMultipartResponse: Record<string, never>;
        /** @description The state of the cached copies of a video's images. */
        CachePurge: {
            /**
             * Format: uint32
             * @description How long a copy out of reach may last, in seconds.
             */
            may_last_secs: number;
            /** @description The same as text. */
            note: string;
            /**
             * Format: uint
             * @description How many copies in this data center were purged.
             */
            purged: number;
        };
        /**
         * @description Stable, machine-readable error code.
         *
         *     - `unauthorized` (401): The request has no valid token or session. Sign in first.
         *     - `forbidden_key` (403): This video belongs to another user.
         *     - `forbidden_origin` (403): Requests from this site are not allowed.
         *     - `too_large` (413): The file is larger than allowed.
         *     - `empty` (422): The file is empty.
         *     - `type_not_allowed` (415): This file type is not accepted. Upload a video.
         *     - `bad_parameter` (400): A request parameter is missing or invalid.
         *     - `not_found` (404): There is nothing at this URL.
         *     - `method_not_allowed` (405): Method not allowed for this URL.
         *     - `source_gone` (410): The uploaded file was deleted before its images were generated.
         *     - `processing` (202): The images of this video are still being generated. Try again in a moment.
         *     - `not_a_video` (422): The file is not a video, regardless of its name.
         *     - `no_video_stream` (422): The file has no video track.
         *     - `unsupported_codec` (422): This video format cannot be decoded.
         *     - `too_many_pixels` (422): The video's resolution is higher than 8K.
         *     - `too_much_memory` (422): Decoding this video needs more memory than this service has.
         *     - `too_many_streams` (422): The file has more tracks than allowed.
         *     - `too_long` (422): The video is longer than allowed.
         *     - `truncated` (422): The file is damaged or incomplete: no frame can be decoded.
         *     - `encrypted` (422): The video is encrypted and cannot be decoded.
         *     - `decoder_crash` (422): The file is malformed: the decoder could not process it.
         *     - `timed_out` (422): Decoding the video took too long.
         *     - `superseded` (409): The uploaded file was replaced by another file.
         *     - `deleted` (410): This video was deleted by its owner.
         *     - `already_uploaded` (409): This video has already been uploaded, and an upload cannot be replaced.
         *     - `token_used_up` (403): All videos of this upload token have already been uploaded.
         *     - `token_refused` (403): This link is invalid or has expired.
         *     - `busy` (429): Too many requests at once. Try again in a moment.
         *     - `format_not_made` (501): This format is not available. Request JSON instead.
         *     - `no_decoder` (500): No working video decoder is installed. The operator of this service must fix this.
         *     - `no_access` (502): This service is not allowed to access its storage. The operator must fix its permissions.
         *     - `upstream` (502): The storage service did not respond correctly. Try again.
         *     - `internal` (500): An internal error occurred.
         * @enum {string}
         */
        Code: "unauthorized" | "forbidden_key" | "forbidden_origin" | "too_large" | "empty" | "type_not_allowed" | "bad_parameter" | "not_found" | "method_not_allowed" | "source_gone" | "processing" | "not_a_video" | "no_video_stream" | "unsupported_codec" | "too_many_pixels" | "too_much_memory" | "too_many_streams" | "too_long" | "truncated" | "encrypted" | "decoder_crash" | "timed_out" | "superseded" | "deleted" | "already_uploaded" | "token_used_up" | "token_refused" | "busy" | "format_not_made" | "no_decoder" | "no_access" | "upstream" | "internal";
        /** @description The parts of a multipart upload. */
        CompleteMultipartRequest: {
            /** @description The parts, each once. */
            parts: components["schemas"]["CompletedPart"][];
        };
        /** @description A completed multipart upload. */
        CompleteMultipartResponse: {
            /** @description The bucket. */
            bucket: string;
            /** @description Its key. */
            key: string;
            /** @description Its URL; the last segment is the video's id. */
            location: string;
            /** @description The video. */
            video: components["schemas"]["Video"] | null;
        };
        /** @description The same with an upload token. */
        CompleteMultipartStatusResponse: {
            /** @description The bucket. */
            bucket: string;
            /** @description Its key. */
            key: string;
            /** @description Its URL; the last segment is the video's id. */
            location: string;
            /** @description The video. */
            video: components["schemas"]["VideoStatus"] | null;
        };
        /** @description An uploaded part. */
        CompletedPart: {
            /** @description S3's ETag, with or without quotes. */
            ETag: string;
            /**
             * Format: uint64
             * @description The part number.
             */
            PartNumber: number;
        };
        /** @description The private images to give access to. */
        CreateDeliveryTokensRequest: {
            /**
             * Format: uint64
             * @description The lifetime in seconds.
             * @default 3600
             */
            expires_in: number;
            /**
             * @description The parameters of the image, with exactly one of `types`.
             * @default {}
             */
            parameters: {
                [key: string]: unknown;
            };
            /**
             * @description The types of files to give access to, each once: one token per type.
             * @default [
             *       "thumbnail",
             *       "animated",
             *       "storyboard"
             *     ]
             */
            types: components["schemas"]["DeliveryType"][];
        };
        /** @description A file to upload in parts. */
        CreateMultipartRequest: {
            /** @description The file's name. */
            filename: string;
            /** @description Its media type. If it is unknown, empty or absent, the type follows from the file extension. */
            type?: string | null;
        };
        /** @description A created multipart upload. */
        CreateMultipartResponse: {
            /** @description The bucket. */
            bucket: string;
            /** @description The key of the upload, for all later requests. */
            key: string;
            /** @description The upload id. */
            uploadId: string;
        };
        /** @description The limits of an upload token; every member is optional. */
        CreateUploadTokenRequest: {
            /**
             * Format: uint64
             * @description The lifetime in seconds; an hour if absent.
             */
            expires_in?: number | null;
            /** @description Your own id of the video; it is returned with the video. */
            external_id?: string | null;
            /**
             * Format: uint64
             * @description The maximum size of each video in bytes.
             */
            max_bytes?: number | null;
            /** @description Your own fields, at most 512 bytes as JSON; they are returned with the video. */
            metadata?: {
                [key: string]: string;
            } | null;
            /** @description The media types that may be uploaded. */
            types?: components["schemas"]["UploadType"][] | null;
            /**
             * Format: uint32
             * @description The number of videos; one if absent.
             */
            videos?: number | null;
            /** @description The visibility of the images. */
            visibility?: components["schemas"]["Visibility"] | null;
        };
        /** @description A file to upload. */
        CreateVideoRequest: {
            /** @description Base64 of its SHA-256: S3 then rejects any other content. */
            checksum_sha256?: string | null;
            /** @description Your own id of the video; it is returned with the video. */
            external_id?: string | null;
            /** @description Your own fields, at most 512 bytes as JSON; they are returned with the video. */
            metadata?: {
                [key: string]: string;
            } | null;
            /** @description The file's name. */
            name: string;
            /**
             * Format: uint64
             * @description Its length in bytes.
             */
            size: number;
            /**
             * @description Its media type, with or without parameters. If it is unknown, empty or absent, the type follows from the file
             *     extension, and is `application/octet-stream` otherwise. Types that browsers execute are rejected.
             */
            type?: string | null;
            /** @description The visibility of the images, if not the default. */
            visibility?: components["schemas"]["Visibility"] | null;
        };
        /** @description A granted video, and the request that uploads it. */
        CreateVideoResponse: {
            /** @description The presigned request that the client sends to S3 unchanged. */
            upload: components["schemas"]["Upload"];
            /** @description The video. */
            video: components["schemas"]["Video"];
        };
        /** @description The same with an upload token. */
        CreateVideoStatusResponse: {
            /** @description The presigned request that the client sends to S3 unchanged. */
            upload: components["schemas"]["Upload"];
            /** @description The video. */
            video: components["schemas"]["VideoStatus"];
        };
        /** @description The deleted objects of a video. */
        DeleteVideoResponse: {
            /** @description The state of cached copies. */
            caches: components["schemas"]["CachePurge"];
            /** @description The video. */
            id: components["schemas"]["VideoId"];
            /** @description What was deleted. Empty for a second request. */
            removed: components["schemas"]["DeletedObjects"];
        };
        /** @description The deleted parts of a video. */
        DeletedObjects: {
            /**
             * Format: uint
             * @description How many images and tables existed.
             */
            pictures: number;
            /** @description Whether the source existed. */
            source: boolean;
            /**
             * Format: uint
             * @description How many unfinished uploads existed.
             */
            unfinished_uploads: number;
        };
        /** @description Two links to the same image. */
        DeliveryLinks: {
            /** @description With a short signature. */
            short: string;
            /** @description With the JWT. */
            token: string;
        };
        /** @description Permissions to view a private video's images. */
        DeliveryTokensResponse: {
            /**
             * Format: date-time
             * @description Expiry, RFC 3339.
             */
            expires_at: string;
            /** @description One of each requested type. */
            tokens: components["schemas"]["IssuedDeliveryToken"][];
            /** @description The video. */
            video: components["schemas"]["VideoId"];
        };
        /**
         * @description The type of file that a delivery token gives access to.
         * @enum {string}
         */
        DeliveryType: "thumbnail" | "animated" | "storyboard" | "original" | "clip";
        /** @description A delivery token for one type of file. */
        IssuedDeliveryToken: {
            /** @description A JWT in Mux's format, for `token=`. */
            token: string;
            /** @description The type of file. */
            type: components["schemas"]["DeliveryType"];
            /** @description Links by file name. */
            urls: {
                [key: string]: components["schemas"]["DeliveryLinks"];
            };
        };
        /** @description The caller's unfinished multipart uploads. */
        ListUploadsResponse: {
            /** @description Whether there are more. */
            more: boolean;
            /** @description The uploads. */
            uploads: components["schemas"]["UnfinishedUpload"][];
        };
        /** @description A page of the caller's videos, newest first. */
        ListVideosResponse: {
            /** @description The `cursor` of the next page; null on the last one. */
            cursor: components["schemas"]["VideoId"] | null;
            /** @description The videos. */
            videos: components["schemas"]["Video"][];
        };
        /** @description The caller, and the limits of its uploads. */
        MeResponse: {
            /** @description The email address. */
            email: string | null;
            /** @description The limits of uploads. */
            limits: components["schemas"]["UploadLimits"];
            /** @description The display name. */
            name: string | null;
            /** @description The owner of the caller's videos. */
            owner: components["schemas"]["Owner"];
            /** @description The subject, as its issuer names it. */
            subject: string;
        };
        /** @description Id of an owner, derived from the issuer and the subject of the account. */
        Owner: string;
        /** @description An uploaded part. */
        Part: {
            /** @description S3's ETag, in quotes. */
            ETag: string;
            /**
             * Format: uint64
             * @description The part number.
             */
            PartNumber: number;
            /**
             * Format: uint64
             * @description Its length in bytes.
             */
            Size: number;
        };
        /** @description A presigned request in the format of Uppy's `signRequest`. */
        PresignResponse: {
            /**
             * Format: uint64
             * @description Lifetime in seconds.
             */
            expires: number;
            /** @description Form fields, which precede the file; then the method is POST. */
            fields?: {
                [key: string]: string;
            } | null;
            /** @description Headers that the client must set. */
            headers?: {
                [key: string]: string;
            } | null;
            /** @description The key of the upload: the edge chooses it, independent of the request. */
            key: string;
            /** @description The method. */
            method: string;
            /** @description The presigned URL. */
            url: string;
        };
        /** @description A problem, RFC 9457. */
        Problem: {
            /** @description The reason, for programs. */
            code: components["schemas"]["Code"];
            /** @description An explanation for people of this occurrence. */
            detail: string;
            /** @description The same explanation, as read by older clients of Companion. */
            error: string;
            /** @description The same explanation, as displayed by Uppy's clients. */
            message: string;
            /** @description The same in the spelling that Uppy v4 and v5 display. */
            requestId: string;
            /** @description The id of the request in the log. */
            request_id: string;
            /**
             * Format: uint16
             * @description The status of the response.
             */
            status: number;
            /** @description A short title for people, the same for every occurrence. */
            title: string;
            /** @description `urn:glimpse:problem:` and the code. */
            type: string;
        };
        /** @description The time of a poster. */
        SetPosterRequest: {
            /**
             * Format: double
             * @description In seconds.
             */
            time: number;
        };
        /** @description A signed request for one part. */
        SignPartResponse: {
            /**
             * Format: uint64
             * @description Lifetime in seconds.
             */
            expires: number;
            /** @description The method: PUT. */
            method: string;
            /** @description The presigned URL. */
            url: string;
        };
        /** @description Signed requests for several parts. */
        SignPartsResponse: {
            /**
             * Format: uint64
             * @description Lifetime in seconds.
             */
            expires: number;
            /** @description The presigned URLs, by part number. */
            presignedUrls: {
                [key: string]: string;
            };
        };
        /** @description A request to S3, as in Uppy's `signRequest`. */
        SignRequest: {
            /** @description The file's media type, for a new upload. */
            contentType?: string | null;
            /** @description The key of the upload, unchanged; for a new upload any text that ends with the file's name. */
            key: string;
            /**
             * @description The method.
             * @enum {string}
             */
            method: "PUT" | "POST" | "GET" | "DELETE";
            /**
             * Format: uint64
             * @description The part number, for the PUT of a part.
             */
            partNumber?: number | null;
            /**
             * Format: uint64
             * @description The length in bytes of the file, for a new upload, or of the part: S3 then enforces it.
             */
            size?: number | null;
            /** @description The upload id, for an existing multipart upload. */
            uploadId?: string | null;
        };
        /**
         * @description Id of a trace, as in W3C Trace Context. Logs, manifest and webhooks contain the upload's trace id.
         * @example 4bf92f3577b34da6a3ce929d0e0e4736
         */
        TraceId: string;
        /** @description An unfinished multipart upload. */
        UnfinishedUpload: {
            /**
             * Format: uint64
             * @description The number of uploaded bytes.
             */
            bytes_uploaded: number;
            /**
             * Format: date-time
             * @description When it was created, RFC 3339.
             */
            initiated_at: string;
            /** @description The key of the upload. */
            key: string;
            /** @description The file's name; null if unknown. */
            name: string | null;
            /**
             * Format: uint
             * @description The number of uploaded parts.
             */
            parts: number;
            /** @description The upload id. */
            uploadId: string;
            /** @description The id of its video. */
            video: components["schemas"]["VideoId"];
        };
        /** @description A presigned request that the client sends to S3 unchanged. */
        Upload: {
            /**
             * Format: date-time
             * @description Expiry of the signature, RFC 3339.
             */
            expires_at: string;
            /** @description Every header that the client must set; a browser adds `content-length` by itself. */
            headers: {
                [key: string]: string;
            };
            /** @description The method. */
            method: string;
            /** @description The presigned URL. */
            url: string;
        };
        /** @description The limits of the caller's uploads. */
        UploadLimits: {
            /**
             * Format: uint64
             * @description The maximum size of one signed request in bytes; larger files are uploaded in parts.
             */
            max_single_upload_bytes: number;
            /**
             * Format: uint64
             * @description The maximum size of one video in bytes.
             */
            max_upload_bytes: number;
            /** @description The media types that may be uploaded. */
            types: string[];
        };
        /** @description An upload token. */
        UploadTokenResponse: {
            /**
             * Format: date-time
             * @description Expiry, RFC 3339.
             */
            expires_at: string;
            /** @description The token. */
            token: string;
            /** @description The URL prefix of uploads with the token: Uppy's `endpoint` (v4, v5) or `companionEndpoint` (v6). */
            url: string;
            /** @description The ids of its videos. */
            videos: components["schemas"]["VideoId"][];
        };
        /**
         * @description A media type that may be uploaded.
         * @enum {string}
         */
        UploadType: "application/mxf" | "application/ogg" | "application/vnd.ms-asf" | "image/gif" | "video/3gpp" | "video/3gpp2" | "video/avi" | "video/divx" | "video/matroska" | "video/mp2t" | "video/mp4" | "video/mpeg" | "video/msvideo" | "video/ogg" | "video/quicktime" | "video/vnd.dlna.mpeg-tts" | "video/webm" | "video/x-flv" | "video/x-m4v" | "video/x-matroska" | "video/x-ms-asf" | "video/x-ms-wmv" | "video/x-msvideo";
        /** @description A video that was uploaded through the Worker. */
        UploadVideoResponse: {
            /** @description The video. */
            video: components["schemas"]["Video"];
        };
        /** @description The state of an uploaded video, for a caller with an upload token. */
        UploadVideoStatusResponse: {
            /** @description The video. */
            video: components["schemas"]["VideoStatus"];
        };
        /** @description A POST form of S3 for one file, in Companion's format; or a PUT, for storage without POST forms. */
        UppyUploadParameters: {
            /**
             * Format: uint64
             * @description Lifetime in seconds.
             */
            expires: number;
            /** @description The form fields, which precede the file; empty for a PUT. */
            fields: {
                [key: string]: string;
            };
            /** @description Every required header of a PUT. */
            headers?: {
                [key: string]: string;
            } | null;
            /** @description The method: POST, or PUT for storage without POST forms. */
            method: string;
            /** @description The URL of the bucket; for a PUT the presigned URL of the file. */
            url: string;
        };
        /** @description A video, as returned to its owner. */
        Video: {
            /**
             * Format: uint64
             * @description The file's length in bytes.
             */
            bytes: number;
            /** @description The media type that the uploader declared. */
            content_type: string;
            /**
             * Format: date-time
             * @description When the upload was granted, RFC 3339.
             */
            created_at: string;
            /** @description The poster's dominant color as `#rrggbb`. */
            dominant_color: string | null;
            /**
             * Format: uint64
             * @description Duration in milliseconds.
             */
            duration_ms: number | null;
            /** @description The customer's id of the video. */
            external_id?: string | null;
            /** @description Whether it has audio. */
            has_audio: boolean | null;
            /**
             * Format: uint32
             * @description Height as displayed, in pixels.
             */
            height: number | null;
            /** @description Its id. */
            id: components["schemas"]["VideoId"];
            /** @description Additional fields of the customer. */
            metadata?: {
                [key: string]: string;
            };
            /** @description The file's name; empty while unknown. */
            name: string;
            /**
             * Format: uint64
             * @description The time of the poster, in milliseconds; null if unknown.
             */
            poster_ms: number | null;
            /** @description Why it was rejected or has failed. */
            problem: components["schemas"]["VideoProblem"] | null;
            /** @description Its state. */
            state: components["schemas"]["VideoState"];
            /** @description A blurred placeholder of the poster of about 25 bytes, base64, <https://evanw.github.io/thumbhash/>. */
            thumbhash: string | null;
            /** @description The trace that the upload belongs to. Always present in responses and webhooks. */
            trace_id?: components["schemas"]["TraceId"] | null;
            /** @description The URLs of the default images by file name; with their revisions if the video is ready. */
            urls: {
                [key: string]: string;
            };
            /** @description The visibility of the images; null while unknown. */
            visibility: components["schemas"]["Visibility"] | null;
            /**
             * Format: uint32
             * @description Width as displayed, in pixels.
             */
            width: number | null;
        };
        /**
         * @description Id of a video: 26 characters of Crockford's base32 in lower case. Newer ids sort first.
         * @example 7xmg4ztpa10123456789abcdef
         */
        VideoId: string;
        /** @description Why a video was rejected or has failed. */
        VideoProblem: {
            /** @description The reason, for programs. */
            code: components["schemas"]["Code"];
            /** @description An explanation for people. */
            message: string;
            /** @description A short title for people. */
            title: string;
        };
        /** @description The state of a video. */
        VideoState: "uploading" | "processing" | "ready" | "rejected" | "failed";
        /** @description A video, as returned with an upload token: nothing about the file, its images or its owner. */
        VideoStatus: {
            /** @description Its id. */
            id: components["schemas"]["VideoId"];
            /** @description Why it was rejected or has failed. */
            problem: components["schemas"]["VideoProblem"] | null;
            /** @description Its state. */
            state: components["schemas"]["VideoState"];
            /** @description Its trace: in the response to the request that created the upload. */
            trace_id?: components["schemas"]["TraceId"] | null;
        };
        /** @description Who can view the images of a video. */
        Visibility: "public" | "signed";
    };
    responses: {
        /** @description `already_uploaded`: This video has already been uploaded, and an upload cannot be replaced. */
        AlreadyUploaded: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "already_uploaded",
                 *       "detail": "This video has already been uploaded, and an upload cannot be replaced.",
                 *       "error": "This video has already been uploaded, and an upload cannot be replaced.",
                 *       "message": "This video has already been uploaded, and an upload cannot be replaced.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 409,
                 *       "title": "Already uploaded",
                 *       "type": "urn:glimpse:problem:already_uploaded"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "already_uploaded";
                    /** @constant */
                    status?: 409;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `bad_parameter`: A request parameter is missing or invalid. */
        BadParameter: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "bad_parameter",
                 *       "detail": "A request parameter is missing or invalid.",
                 *       "error": "A request parameter is missing or invalid.",
                 *       "message": "A request parameter is missing or invalid.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 400,
                 *       "title": "Invalid parameter",
                 *       "type": "urn:glimpse:problem:bad_parameter"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "bad_parameter";
                    /** @constant */
                    status?: 400;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `busy`: Too many requests at once. Try again in a moment. */
        Busy: {
            headers: {
                "retry-after": components["headers"]["retry-after"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "busy",
                 *       "detail": "Too many requests at once. Try again in a moment.",
                 *       "error": "Too many requests at once. Try again in a moment.",
                 *       "message": "Too many requests at once. Try again in a moment.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 429,
                 *       "title": "Too many requests",
                 *       "type": "urn:glimpse:problem:busy"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "busy";
                    /** @constant */
                    status?: 429;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `deleted`: This video was deleted by its owner. */
        Deleted: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "deleted";
                    /** @constant */
                    status?: 410;
                } & components["schemas"]["Problem"];
            };
        };
        /**
         * @description `deleted`: This video was deleted by its owner.
         *
         *     `source_gone`: The uploaded file was deleted before its images were generated.
         */
        DeletedOrSourceGone: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "deleted" | "source_gone";
                    /** @constant */
                    status?: 410;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `empty`: The file is empty. */
        Empty: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "empty",
                 *       "detail": "The file is empty.",
                 *       "error": "The file is empty.",
                 *       "message": "The file is empty.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 422,
                 *       "title": "Empty file",
                 *       "type": "urn:glimpse:problem:empty"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "empty";
                    /** @constant */
                    status?: 422;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `forbidden_key`: This video belongs to another user. */
        ForbiddenKey: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "forbidden_key";
                    /** @constant */
                    status?: 403;
                } & components["schemas"]["Problem"];
            };
        };
        /**
         * @description `forbidden_key`: This video belongs to another user.
         *
         *     `forbidden_origin`: Requests from this site are not allowed.
         */
        ForbiddenKeyOrForbiddenOrigin: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "forbidden_key" | "forbidden_origin";
                    /** @constant */
                    status?: 403;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `forbidden_origin`: Requests from this site are not allowed. */
        ForbiddenOrigin: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "forbidden_origin";
                    /** @constant */
                    status?: 403;
                } & components["schemas"]["Problem"];
            };
        };
        /**
         * @description `forbidden_origin`: Requests from this site are not allowed.
         *
         *     `token_used_up`: All videos of this upload token have already been uploaded.
         */
        ForbiddenOriginOrTokenUsedUp: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "forbidden_origin" | "token_used_up";
                    /** @constant */
                    status?: 403;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `internal`: An internal error occurred. */
        Internal: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "internal";
                    /** @constant */
                    status?: 500;
                } & components["schemas"]["Problem"];
            };
        };
        /**
         * @description `internal`: An internal error occurred.
         *
         *     `no_decoder`: No working video decoder is installed. The operator of this service must fix this.
         */
        InternalOrNoDecoder: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "internal" | "no_decoder";
                    /** @constant */
                    status?: 500;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `method_not_allowed`: Method not allowed for this URL. */
        MethodNotAllowed: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "method_not_allowed",
                 *       "detail": "Method not allowed for this URL.",
                 *       "error": "Method not allowed for this URL.",
                 *       "message": "Method not allowed for this URL.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 405,
                 *       "title": "Method not allowed",
                 *       "type": "urn:glimpse:problem:method_not_allowed"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "method_not_allowed";
                    /** @constant */
                    status?: 405;
                } & components["schemas"]["Problem"];
            };
        };
        /**
         * @description `no_access`: This service is not allowed to access its storage. The operator must fix its permissions.
         *
         *     `upstream`: The storage service did not respond correctly. Try again.
         */
        NoAccessOrUpstream: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "no_access",
                 *       "detail": "This service is not allowed to access its storage. The operator must fix its permissions.",
                 *       "error": "This service is not allowed to access its storage. The operator must fix its permissions.",
                 *       "message": "This service is not allowed to access its storage. The operator must fix its permissions.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 502,
                 *       "title": "Storage access denied",
                 *       "type": "urn:glimpse:problem:no_access"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "no_access" | "upstream";
                    /** @constant */
                    status?: 502;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `not_found`: There is nothing at this URL. */
        NotFound: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "not_found";
                    /** @constant */
                    status?: 404;
                } & components["schemas"]["Problem"];
            };
        };
        /**
         * @description `decoder_crash`: The file is malformed: the decoder could not process it.
         *
         *     `empty`: The file is empty.
         *
         *     `encrypted`: The video is encrypted and cannot be decoded.
         *
         *     `no_video_stream`: The file has no video track.
         *
         *     `not_a_video`: The file is not a video, regardless of its name.
         *
         *     `timed_out`: Decoding the video took too long.
         *
         *     `too_long`: The video is longer than allowed.
         *
         *     `too_many_pixels`: The video's resolution is higher than 8K.
         *
         *     `too_many_streams`: The file has more tracks than allowed.
         *
         *     `too_much_memory`: Decoding this video needs more memory than this service has.
         *
         *     `truncated`: The file is damaged or incomplete: no frame can be decoded.
         *
         *     `unsupported_codec`: This video format cannot be decoded.
         */
        Problem422: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "decoder_crash",
                 *       "detail": "The file is malformed: the decoder could not process it.",
                 *       "error": "The file is malformed: the decoder could not process it.",
                 *       "message": "The file is malformed: the decoder could not process it.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 422,
                 *       "title": "Decoding failed",
                 *       "type": "urn:glimpse:problem:decoder_crash"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "decoder_crash" | "empty" | "encrypted" | "no_video_stream" | "not_a_video" | "timed_out" | "too_long" | "too_many_pixels" | "too_many_streams" | "too_much_memory" | "truncated" | "unsupported_codec";
                    /** @constant */
                    status?: 422;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `processing`: The images of this video are still being generated. Try again in a moment. */
        Processing: {
            headers: {
                "retry-after": components["headers"]["retry-after"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "processing",
                 *       "detail": "The images of this video are still being generated. Try again in a moment.",
                 *       "error": "The images of this video are still being generated. Try again in a moment.",
                 *       "message": "The images of this video are still being generated. Try again in a moment.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 202,
                 *       "title": "Processing",
                 *       "type": "urn:glimpse:problem:processing"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "processing";
                    /** @constant */
                    status?: 202;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `superseded`: The uploaded file was replaced by another file. */
        Superseded: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "superseded",
                 *       "detail": "The uploaded file was replaced by another file.",
                 *       "error": "The uploaded file was replaced by another file.",
                 *       "message": "The uploaded file was replaced by another file.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 409,
                 *       "title": "Superseded",
                 *       "type": "urn:glimpse:problem:superseded"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "superseded";
                    /** @constant */
                    status?: 409;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `token_refused`: This link is invalid or has expired. */
        TokenRefused: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "token_refused",
                 *       "detail": "This link is invalid or has expired.",
                 *       "error": "This link is invalid or has expired.",
                 *       "message": "This link is invalid or has expired.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 403,
                 *       "title": "Invalid link",
                 *       "type": "urn:glimpse:problem:token_refused"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "token_refused";
                    /** @constant */
                    status?: 403;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `token_used_up`: All videos of this upload token have already been uploaded. */
        TokenUsedUp: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "token_used_up",
                 *       "detail": "All videos of this upload token have already been uploaded.",
                 *       "error": "All videos of this upload token have already been uploaded.",
                 *       "message": "All videos of this upload token have already been uploaded.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 403,
                 *       "title": "Token used up",
                 *       "type": "urn:glimpse:problem:token_used_up"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "token_used_up";
                    /** @constant */
                    status?: 403;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `too_large`: The file is larger than allowed. */
        TooLarge: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "too_large",
                 *       "detail": "The file is larger than allowed.",
                 *       "error": "The file is larger than allowed.",
                 *       "message": "The file is larger than allowed.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 413,
                 *       "title": "Too large",
                 *       "type": "urn:glimpse:problem:too_large"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "too_large";
                    /** @constant */
                    status?: 413;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `type_not_allowed`: This file type is not accepted. Upload a video. */
        TypeNotAllowed: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "type_not_allowed",
                 *       "detail": "This file type is not accepted. Upload a video.",
                 *       "error": "This file type is not accepted. Upload a video.",
                 *       "message": "This file type is not accepted. Upload a video.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 415,
                 *       "title": "Type not allowed",
                 *       "type": "urn:glimpse:problem:type_not_allowed"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "type_not_allowed";
                    /** @constant */
                    status?: 415;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description `unauthorized`: The request has no valid token or session. Sign in first. */
        Unauthorized: {
            headers: {
                "www-authenticate": components["headers"]["www-authenticate"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "code": "unauthorized",
                 *       "detail": "The request has no valid token or session. Sign in first.",
                 *       "error": "The request has no valid token or session. Sign in first.",
                 *       "message": "The request has no valid token or session. Sign in first.",
                 *       "requestId": "8d1f2ab3c4d5e6f7",
                 *       "request_id": "8d1f2ab3c4d5e6f7",
                 *       "status": 401,
                 *       "title": "Authentication required",
                 *       "type": "urn:glimpse:problem:unauthorized"
                 *     }
                 */
                "application/problem+json": {
                    /** @enum {unknown} */
                    code?: "unauthorized";
                    /** @constant */
                    status?: 401;
                } & components["schemas"]["Problem"];
            };
        };
        /** @description An empty object. */
        "abortMultipart.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /** @example {} */
                "application/json": components["schemas"]["AbortMultipartResponse"];
            };
        };
        /** @description The image. */
        "animatedGif.200": {
            headers: {
                "cache-control": components["headers"]["cache-control"];
                etag: components["headers"]["etag"];
                [name: string]: unknown;
            };
            content: {
                "image/gif": unknown;
            };
        };
        /** @description The requested range. */
        "animatedGif.206": {
            headers: {
                "content-range": components["headers"]["content-range"];
                [name: string]: unknown;
            };
            content: {
                "image/gif": unknown;
            };
        };
        /** @description The range is not satisfiable. */
        "animatedGif.416": {
            headers: {
                /** @description The total length. */
                "content-range"?: string;
                [name: string]: unknown;
            };
            content?: never;
        };
        /** @description The image. */
        "animatedMp4.200": {
            headers: {
                "cache-control": components["headers"]["cache-control"];
                etag: components["headers"]["etag"];
                [name: string]: unknown;
            };
            content: {
                "video/mp4": unknown;
            };
        };
        /** @description The requested range. */
        "animatedMp4.206": {
            headers: {
                "content-range": components["headers"]["content-range"];
                [name: string]: unknown;
            };
            content: {
                "video/mp4": unknown;
            };
        };
        /** @description The image. */
        "animatedWebp.200": {
            headers: {
                "cache-control": components["headers"]["cache-control"];
                etag: components["headers"]["etag"];
                [name: string]: unknown;
            };
            content: {
                "image/webp": unknown;
            };
        };
        /** @description The requested range. */
        "animatedWebp.206": {
            headers: {
                "content-range": components["headers"]["content-range"];
                [name: string]: unknown;
            };
            content: {
                "image/webp": unknown;
            };
        };
        /** @description The upload. */
        "createMultipart.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "bucket": "glimpse-videos",
                 *       "key": "uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35",
                 *       "uploadId": "VXBsb2FkIElEIGZvciBjbGlwLm1wNA"
                 *     }
                 */
                "application/json": components["schemas"]["CreateMultipartResponse"];
            };
        };
        /** @description The outcome, if the request waited for it. */
        "createVideo.200": {
            headers: {
                location: components["headers"]["location"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "video": {
                 *         "bytes": 7340032,
                 *         "content_type": "video/mp4",
                 *         "created_at": "2026-01-01T00:00:00.000Z",
                 *         "dominant_color": "#4a6b8c",
                 *         "duration_ms": 60040,
                 *         "external_id": "order 7",
                 *         "has_audio": true,
                 *         "height": 1080,
                 *         "id": "7ycj4janzzc5q20sbrc5pq0v35",
                 *         "name": "clip.mp4",
                 *         "poster_ms": null,
                 *         "problem": null,
                 *         "state": "ready",
                 *         "thumbhash": "2/cNFIJYd3iHiIdwiIiHeIhXoAkG",
                 *         "trace_id": "fe64892557ff616e206578616d706c65",
                 *         "urls": {
                 *           "animated.gif": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.gif?v=5d41402a",
                 *           "animated.mp4": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.mp4?v=5d41402a",
                 *           "animated.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.webp?v=5d41402a",
                 *           "storyboard.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.jpg?v=5d41402a",
                 *           "storyboard.json": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.json?v=5d41402a",
                 *           "storyboard.vtt": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.vtt?v=5d41402a",
                 *           "storyboard.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.webp?v=5d41402a",
                 *           "thumbnail.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?v=5d41402a",
                 *           "thumbnail.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?v=5d41402a"
                 *         },
                 *         "visibility": "public",
                 *         "width": 1920
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["UploadVideoResponse"];
            };
        };
        /** @description The outcome, if the request waited for it. */
        "createVideoWithToken.200": {
            headers: {
                location: components["headers"]["location"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "video": {
                 *         "id": "7ycj4janzzc5q20sbrc5pq0v35",
                 *         "problem": null,
                 *         "state": "ready",
                 *         "trace_id": "fe64892557ff616e206578616d706c65"
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["UploadVideoStatusResponse"];
            };
        };
        /** @description The parts. */
        "listParts.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example [
                 *       {
                 *         "ETag": "\"d41d8cd98f00b204e9800998ecf8427e\"",
                 *         "PartNumber": 1,
                 *         "Size": 5242880
                 *       }
                 *     ]
                 */
                "application/json": components["schemas"]["Part"][];
            };
        };
        /** @description The caller. */
        "me.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "email": "alice@example.com",
                 *       "limits": {
                 *         "max_single_upload_bytes": 5368709120,
                 *         "max_upload_bytes": 5368709120,
                 *         "types": [
                 *           "video/mp4",
                 *           "video/webm"
                 *         ]
                 *       },
                 *       "name": "Alice",
                 *       "owner": "DbjR_VPh_SzBBJs1MdQV1A",
                 *       "subject": "alice"
                 *     }
                 */
                "application/json": components["schemas"]["MeResponse"];
            };
        };
        /** @description The request. */
        "presign.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "expires": 900,
                 *       "headers": {
                 *         "content-type": "video/mp4",
                 *         "if-none-match": "*",
                 *         "x-amz-meta-external-id": "order%207",
                 *         "x-amz-meta-name": "clip.mp4",
                 *         "x-amz-meta-visibility": "public"
                 *       },
                 *       "key": "uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35",
                 *       "method": "PUT",
                 *       "url": "https://glimpse-videos.s3.eu-central-1.amazonaws.com/uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101%2Feu-central-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match%3Bx-amz-meta-external-id%3Bx-amz-meta-name%3Bx-amz-meta-visibility&X-Amz-Signature=eb3e8954b2c6c9fa2a8079d5b880401aa20f497e99cf4a4b50f2409ef1c6bbfc"
                 *     }
                 */
                "application/json": components["schemas"]["PresignResponse"];
            };
        };
        /** @description The video. */
        "sendVideo.201": {
            headers: {
                location: components["headers"]["location"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "video": {
                 *         "bytes": 7340032,
                 *         "content_type": "video/mp4",
                 *         "created_at": "2026-01-01T00:00:00.000Z",
                 *         "dominant_color": null,
                 *         "duration_ms": null,
                 *         "has_audio": null,
                 *         "height": null,
                 *         "id": "7ycj4janzzc5q20sbrc5pq0v35",
                 *         "name": "clip.mp4",
                 *         "poster_ms": null,
                 *         "problem": null,
                 *         "state": "processing",
                 *         "thumbhash": null,
                 *         "trace_id": "fe64892557ff616e206578616d706c65",
                 *         "urls": {
                 *           "animated.gif": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.gif",
                 *           "animated.mp4": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.mp4",
                 *           "animated.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.webp",
                 *           "storyboard.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.jpg",
                 *           "storyboard.json": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.json",
                 *           "storyboard.vtt": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.vtt",
                 *           "storyboard.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.webp",
                 *           "thumbnail.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg",
                 *           "thumbnail.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp"
                 *         },
                 *         "visibility": "public",
                 *         "width": null
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["UploadVideoResponse"];
            };
        };
        /** @description The video. */
        "sendVideoWithToken.201": {
            headers: {
                location: components["headers"]["location"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "video": {
                 *         "id": "7ycj4janzzc5q20sbrc5pq0v35",
                 *         "problem": null,
                 *         "state": "processing",
                 *         "trace_id": "fe64892557ff616e206578616d706c65"
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["UploadVideoStatusResponse"];
            };
        };
        /** @description The presigned URL of the part. */
        "signPart.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "expires": 900,
                 *       "method": "PUT",
                 *       "url": "https://glimpse-videos.s3.eu-central-1.amazonaws.com/uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35?partNumber=1&uploadId=VXBsb2FkIElEIGZvciBjbGlwLm1wNA&X-Amz-…"
                 *     }
                 */
                "application/json": components["schemas"]["SignPartResponse"];
            };
        };
        /** @description The presigned URLs of the parts. */
        "signParts.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "expires": 900,
                 *       "presignedUrls": {
                 *         "1": "https://glimpse-videos.s3.eu-central-1.amazonaws.com/uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35?partNumber=1&uploadId=VXBsb2FkIElEIGZvciBjbGlwLm1wNA&X-Amz-…"
                 *       }
                 *     }
                 */
                "application/json": components["schemas"]["SignPartsResponse"];
            };
        };
        /** @description The image. */
        "storyboardJpg.200": {
            headers: {
                "cache-control": components["headers"]["cache-control"];
                etag: components["headers"]["etag"];
                [name: string]: unknown;
            };
            content: {
                "image/jpeg": unknown;
            };
        };
        /** @description The requested range. */
        "storyboardJpg.206": {
            headers: {
                "content-range": components["headers"]["content-range"];
                [name: string]: unknown;
            };
            content: {
                "image/jpeg": unknown;
            };
        };
        /** @description The form. */
        "uppyParams.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "expires": 900,
                 *       "fields": {
                 *         "Policy": "eyJleHBpcmF0aW9uIjoiMjAyNi0wMS0wMVQwMDoxNTowMC4wMDBaIiwiY29uZGl0aW9ucyI6W1siZXEiLCIkc3VjY2Vzc19hY3Rpb25fc3RhdHVzIiwiMjAxIl0sWyJlcSIsIiRjb250ZW50LXR5cGUiLCJ2aWRlby9tcDQiXSxbImVxIiwiJHgtYW16LW1ldGEtZXh0ZXJuYWwtaWQiLCJvcmRlciUyMDciXSxbImVxIiwiJHgtYW16LW1ldGEtbmFtZSIsImNsaXAubXA0Il0sWyJlcSIsIiR4LWFtei1tZXRhLXZpc2liaWxpdHkiLCJwdWJsaWMiXSxbImVxIiwiJGJ1Y2tldCIsImdsaW1wc2UtdmlkZW9zIl0sWyJlcSIsIiRYLUFtei1BbGdvcml0aG0iLCJBV1M0LUhNQUMtU0hBMjU2Il0sWyJlcSIsIiRYLUFtei1DcmVkZW50aWFsIiwiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAyNjAxMDEvZXUtY2VudHJhbC0xL3MzL2F3czRfcmVxdWVzdCJdLFsiZXEiLCIkWC1BbXotRGF0ZSIsIjIwMjYwMTAxVDAwMDAwMFoiXSxbImVxIiwiJGtleSIsInVwbG9hZHMvRGJqUl9WUGhfU3pCQkpzMU1kUVYxQS83eWNqNGphbnp6YzVxMjBzYnJjNXBxMHYzNSJdLFsiY29udGVudC1sZW5ndGgtcmFuZ2UiLDEsNTM2ODcwOTEyMF1dfQ==",
                 *         "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
                 *         "X-Amz-Credential": "AKIAIOSFODNN7EXAMPLE/20260101/eu-central-1/s3/aws4_request",
                 *         "X-Amz-Date": "20260101T000000Z",
                 *         "X-Amz-Signature": "5269506725f510006a0c682d4e7c05ecc41ed4e8eda7d9017bec288b4ba784db",
                 *         "bucket": "glimpse-videos",
                 *         "content-type": "video/mp4",
                 *         "key": "uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35",
                 *         "success_action_status": "201",
                 *         "x-amz-meta-external-id": "order%207",
                 *         "x-amz-meta-name": "clip.mp4",
                 *         "x-amz-meta-visibility": "public"
                 *       },
                 *       "method": "POST",
                 *       "url": "https://glimpse-videos.s3.eu-central-1.amazonaws.com/"
                 *     }
                 */
                "application/json": components["schemas"]["UppyUploadParameters"];
            };
        };
        /** @description Events. */
        "watchVideo.200": {
            headers: {
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example retry: 1000
                 *
                 *     id: 2
                 *     event: uploaded
                 *     data: {"id":"7ycj4janzzc5q20sbrc5pq0v35","state":"processing",…}
                 *
                 *     id: 4
                 *     event: ready
                 *     data: {"id":"7ycj4janzzc5q20sbrc5pq0v35","state":"ready",…}
                 */
                "text/event-stream": unknown;
            };
        };
    };
    parameters: {
        /** @description The ETag of the client's copy. */
        "header.if-none-match": string;
        /** @description The id of the last received event: no event is sent twice. */
        "header.last-event-id": string;
        /** @description `wait=30`: the response is sent when the outcome is known, after 30 s at the latest. */
        "header.prefer": string;
        /** @description A range of the image, such as `bytes=0-999`. */
        "header.range": string;
        /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
        "header.traceparent": string;
        /**
         * @description The file's name, with its extension.
         * @example clip.mp4
         */
        "path.name": string;
        /**
         * @description The part number.
         * @example 1
         */
        "path.part": number;
        /**
         * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
         * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
         */
        "path.token": string;
        /**
         * @description The upload id.
         * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
         */
        "path.uploadId": string;
        /**
         * @description The video's id.
         * @example 7ycj4janzzc5q20sbrc5pq0v35
         */
        "path.video": components["schemas"]["VideoId"];
        /** @description End of the part that is shown, in seconds. */
        "query.asset_end_time": number;
        /** @description Start of the part that is shown, in seconds. The times in the tables count from it. */
        "query.asset_start_time": number;
        /** @description Radius of a Gaussian blur in pixels of the image: its standard deviation, as in CSS. */
        "query.blur": number;
        /** @description Factor for width and height, or for the default width, for screens with more than one pixel per CSS pixel. */
        "query.dpr": number;
        /**
         * @description End of the clip, in seconds: 0.25 to 10 after the start; 5 after it by default.
         * @example 3.5
         */
        "query.end": number;
        /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
        "query.expires": number;
        /**
         * @description The file's name.
         * @example clip.mp4
         */
        "query.filename": string;
        /** @description How the frame is fitted to width and height. */
        "query.fit": "clip" | "scale" | "crop" | "fill";
        /** @description How the frame is fitted to width and height, if both are set: `preserve` fits it inside and never enlarges it, `stretch` changes its aspect ratio, `crop` cuts equally on both sides, `smartcrop` cuts where there is the least detail, `pad` adds black edges. */
        "query.fit_mode": "preserve" | "stretch" | "crop" | "smartcrop" | "pad";
        /** @description Flip horizontally. */
        "query.flip_h": "true" | "false";
        /** @description Flip vertically. */
        "query.flip_v": "true" | "false";
        /** @description The format of the sheet in the table. Allowed beside `token`. */
        "query.format": "jpg" | "webp";
        /** @description The maximum frame rate. */
        "query.fps": number;
        /** @description Height in pixels; without it, by the aspect ratio. */
        "query.height.animatedGif": number;
        /** @description Height in pixels; without it, by the aspect ratio. */
        "query.height.thumbnailAvif": number;
        /** @description Seconds from one tile to the next, at least 0.1; not together with `tiles`. */
        "query.interval": number;
        /**
         * @description The key of the upload, unchanged.
         * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
         */
        "query.key": string;
        /** @description The id of the key of `sig`. */
        "query.kid": string;
        /** @description The maximum size in bytes: quality is reduced first, then frames and dimensions. */
        "query.max_bytes": number;
        /** @description The file's name, if the body is the file itself. */
        "query.name.createVideo": string;
        /**
         * @description The file's name.
         * @example clip.mp4
         */
        "query.name.sendVideo": string;
        /**
         * @description 1 to 100 part numbers, separated by commas.
         * @example 1
         */
        "query.partNumbers": string;
        /** @description Draw a play button and the length of the video, for mail and other places that show only images. */
        "query.play": "true" | "false";
        /** @description Quality of the encoder: by default 81 for JPEG, 80 for WebP and 57 for AVIF; not for PNG. */
        "query.quality": number;
        /** @description Degrees clockwise. */
        "query.rotate": "90" | "180" | "270";
        /** @description The HMAC-SHA256 of path and parameters. */
        "query.sig": string;
        /** @description The part's length in bytes, if known: S3 then accepts no other. An upload token for files of at most 5 MiB requires it. */
        "query.size.signParts": number;
        /** @description Its length in bytes. Required only for storage without POST forms. */
        "query.size.uppyParams": string;
        /**
         * @description Start of the clip, in seconds.
         * @example 1
         */
        "query.start": number;
        /**
         * @description The number of tiles; not together with `interval`.
         * @example 4
         */
        "query.tiles": number;
        /**
         * @description The time, such as `1m2s`.
         * @example 1s
         */
        "query.time.streamAnimation": string;
        /**
         * @description The time, in seconds; without it, that of the poster.
         * @example 1.5
         */
        "query.time.thumbnailAvif": number;
        /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
        "query.token": string;
        /**
         * @description Its media type. If it is unknown, empty or absent, the type follows from the file extension.
         * @example video/mp4
         */
        "query.type": string;
        /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
        "query.v": string;
        /**
         * @description Width in pixels; without it, by the aspect ratio, or at most 320 if `height` is not set either.
         * @example 480
         */
        "query.width.animatedGif": number;
        /** @description Width of one tile in pixels; without it, the longer side is 192. */
        "query.width.storyboardJpg": number;
        /**
         * @description Width in pixels; without it, by the aspect ratio, or at most 640 if `height` is not set either.
         * @example 400
         */
        "query.width.thumbnailAvif": number;
    };
    requestBodies: {
        completeMultipart: {
            content: {
                /**
                 * @example {
                 *       "parts": [
                 *         {
                 *           "ETag": "\"d41d8cd98f00b204e9800998ecf8427e\"",
                 *           "PartNumber": 1
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["CompleteMultipartRequest"];
            };
        };
        createMultipart: {
            content: {
                /**
                 * @example {
                 *       "filename": "clip.mp4",
                 *       "metadata": {
                 *         "name": "clip.mp4"
                 *       },
                 *       "type": "video/mp4"
                 *     }
                 */
                "application/json": components["schemas"]["CreateMultipartRequest"];
            };
        };
        createVideo: {
            content: {
                /**
                 * @example {
                 *       "external_id": "order 7",
                 *       "name": "clip.mp4",
                 *       "size": 7340032,
                 *       "type": "video/mp4"
                 *     }
                 */
                "application/json": components["schemas"]["CreateVideoRequest"];
                "multipart/form-data": {
                    /**
                     * @description Your own id of the video; must precede the file.
                     * @example order 7
                     */
                    external_id?: string;
                    /** @description The file, last. */
                    file: string;
                    /** @description Your own fields as a JSON object of strings; must precede the file. */
                    metadata?: string;
                    /**
                     * @description The visibility of the images; must precede the file.
                     * @enum {unknown}
                     */
                    visibility?: "public" | "signed";
                };
                "video/*": unknown;
            };
        };
        presign: {
            content: {
                /**
                 * @example {
                 *       "contentType": "video/mp4",
                 *       "key": "6f9619ff-8b86-d011-b42d-00cf4fc964ff-clip.mp4",
                 *       "method": "PUT",
                 *       "size": 7340032
                 *     }
                 */
                "application/json": components["schemas"]["SignRequest"];
            };
        };
        sendVideo: {
            content: {
                "video/*": unknown;
            };
        };
    };
    headers: {
        /** @description A year and `immutable` if the URL determines the image, otherwise five minutes. */
        "cache-control": string;
        /** @description The range and the total length. */
        "content-range": string;
        /** @description A strong ETag. */
        etag: string;
        /** @description The URL of the video in the API. */
        location: string;
        /** @description When to retry, in seconds. */
        "retry-after": string;
        /** @description `Bearer` */
        "www-authenticate": string;
    };
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    me: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["me.200"];
            401: components["responses"]["Unauthorized"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    openapi: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The document. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": Record<string, never>;
                };
            };
            500: components["responses"]["Internal"];
        };
    };
    mintUploadToken: {
        parameters: {
            query?: never;
            header?: {
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "expires_in": 3600,
                 *       "max_bytes": 100000000,
                 *       "types": [
                 *         "video/mp4"
                 *       ],
                 *       "videos": 1
                 *     }
                 */
                "application/json": components["schemas"]["CreateUploadTokenRequest"];
            };
        };
        responses: {
            /** @description The token. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "expires_at": "2026-01-01T01:00:00.000Z",
                     *       "token": "eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI",
                     *       "url": "https://video.example.com/u/eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI",
                     *       "videos": [
                     *         "7ycj4janrtjbdd70tszvms7edw"
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["UploadTokenResponse"];
                };
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOrigin"];
            404: components["responses"]["NotFound"];
            413: components["responses"]["TooLarge"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    listUploads: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The uploads. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "more": false,
                     *       "uploads": [
                     *         {
                     *           "bytes_uploaded": 15728640,
                     *           "initiated_at": "2026-01-01T00:00:00.000Z",
                     *           "key": "uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35",
                     *           "name": "clip.mp4",
                     *           "parts": 3,
                     *           "uploadId": "VXBsb2FkIElEIGZvciBjbGlwLm1wNA",
                     *           "video": "7ycj4janzzc5q20sbrc5pq0v35"
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["ListUploadsResponse"];
                };
            };
            401: components["responses"]["Unauthorized"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    listVideos: {
        parameters: {
            query?: {
                /** @description Videos per page. */
                limit?: number;
                /** @description The `cursor` of the previous page. */
                cursor?: components["schemas"]["VideoId"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of videos. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "cursor": "7ycj4janzzc5q20sbrc5pq0v35",
                     *       "videos": [
                     *         {
                     *           "bytes": 7340032,
                     *           "content_type": "video/mp4",
                     *           "created_at": "2026-01-01T00:00:00.000Z",
                     *           "dominant_color": "#4a6b8c",
                     *           "duration_ms": 60040,
                     *           "external_id": "order 7",
                     *           "has_audio": true,
                     *           "height": 1080,
                     *           "id": "7ycj4janzzc5q20sbrc5pq0v35",
                     *           "name": "clip.mp4",
                     *           "poster_ms": null,
                     *           "problem": null,
                     *           "state": "ready",
                     *           "thumbhash": "2/cNFIJYd3iHiIdwiIiHeIhXoAkG",
                     *           "trace_id": "fe64892557ff616e206578616d706c65",
                     *           "urls": {
                     *             "animated.gif": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.gif?v=5d41402a",
                     *             "animated.mp4": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.mp4?v=5d41402a",
                     *             "animated.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.webp?v=5d41402a",
                     *             "storyboard.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.jpg?v=5d41402a",
                     *             "storyboard.json": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.json?v=5d41402a",
                     *             "storyboard.vtt": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.vtt?v=5d41402a",
                     *             "storyboard.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.webp?v=5d41402a",
                     *             "thumbnail.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?v=5d41402a",
                     *             "thumbnail.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?v=5d41402a"
                     *           },
                     *           "visibility": "public",
                     *           "width": 1920
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["ListVideosResponse"];
                };
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    sendVideo: {
        parameters: {
            query: {
                /**
                 * @description The file's name.
                 * @example clip.mp4
                 */
                name: components["parameters"]["query.name.sendVideo"];
            };
            header?: {
                /** @description `wait=30`: the response is sent when the outcome is known, after 30 s at the latest. */
                prefer?: components["parameters"]["header.prefer"];
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: components["requestBodies"]["sendVideo"];
        responses: {
            200: components["responses"]["createVideo.200"];
            201: components["responses"]["sendVideo.201"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOriginOrTokenUsedUp"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["AlreadyUploaded"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    createVideo: {
        parameters: {
            query?: {
                /** @description The file's name, if the body is the file itself. */
                name?: components["parameters"]["query.name.createVideo"];
            };
            header?: {
                /** @description `wait=30`: the response is sent when the outcome is known, after 30 s at the latest. */
                prefer?: components["parameters"]["header.prefer"];
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: components["requestBodies"]["createVideo"];
        responses: {
            200: components["responses"]["createVideo.200"];
            /** @description For JSON, the request that uploads the file; for a file, the video. */
            201: {
                headers: {
                    location: components["headers"]["location"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "upload": {
                     *         "expires_at": "2026-01-01T00:15:00.000Z",
                     *         "headers": {
                     *           "content-type": "video/mp4",
                     *           "if-none-match": "*",
                     *           "x-amz-meta-external-id": "order%207",
                     *           "x-amz-meta-name": "clip.mp4",
                     *           "x-amz-meta-visibility": "public"
                     *         },
                     *         "method": "PUT",
                     *         "url": "https://glimpse-videos.s3.eu-central-1.amazonaws.com/uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101%2Feu-central-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match%3Bx-amz-meta-external-id%3Bx-amz-meta-name%3Bx-amz-meta-visibility&X-Amz-Signature=eb3e8954b2c6c9fa2a8079d5b880401aa20f497e99cf4a4b50f2409ef1c6bbfc"
                     *       },
                     *       "video": {
                     *         "bytes": 7340032,
                     *         "content_type": "video/mp4",
                     *         "created_at": "2026-01-01T00:00:00.000Z",
                     *         "dominant_color": null,
                     *         "duration_ms": null,
                     *         "external_id": "order 7",
                     *         "has_audio": null,
                     *         "height": null,
                     *         "id": "7ycj4janzzc5q20sbrc5pq0v35",
                     *         "name": "clip.mp4",
                     *         "poster_ms": null,
                     *         "problem": null,
                     *         "state": "uploading",
                     *         "thumbhash": null,
                     *         "trace_id": "fe64892557ff616e206578616d706c65",
                     *         "urls": {
                     *           "animated.gif": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.gif",
                     *           "animated.mp4": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.mp4",
                     *           "animated.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.webp",
                     *           "storyboard.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.jpg",
                     *           "storyboard.json": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.json",
                     *           "storyboard.vtt": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.vtt",
                     *           "storyboard.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.webp",
                     *           "thumbnail.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg",
                     *           "thumbnail.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp"
                     *         },
                     *         "visibility": "public",
                     *         "width": null
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["CreateVideoResponse"] | components["schemas"]["UploadVideoResponse"];
                };
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOriginOrTokenUsedUp"];
            409: components["responses"]["AlreadyUploaded"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    sendNamedVideo: {
        parameters: {
            query?: never;
            header?: {
                /** @description `wait=30`: the response is sent when the outcome is known, after 30 s at the latest. */
                prefer?: components["parameters"]["header.prefer"];
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path: {
                /**
                 * @description The file's name, with its extension.
                 * @example clip.mp4
                 */
                name: components["parameters"]["path.name"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["sendVideo"];
        responses: {
            200: components["responses"]["createVideo.200"];
            201: components["responses"]["sendVideo.201"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOriginOrTokenUsedUp"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            409: components["responses"]["AlreadyUploaded"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    showVideo: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The video. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Video"];
                };
            };
            401: components["responses"]["Unauthorized"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            410: components["responses"]["Deleted"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    deleteVideo: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description What was deleted. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "caches": {
                     *         "may_last_secs": 31536000,
                     *         "note": "Copies in browsers and other data centers of the CDN expire by their Cache-Control.",
                     *         "purged": 4
                     *       },
                     *       "id": "7ycj4janzzc5q20sbrc5pq0v35",
                     *       "removed": {
                     *         "pictures": 8,
                     *         "source": true,
                     *         "unfinished_uploads": 0
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["DeleteVideoResponse"];
                };
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOrigin"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    watchVideo: {
        parameters: {
            query?: never;
            header?: {
                /** @description The id of the last received event: no event is sent twice. */
                "last-event-id"?: components["parameters"]["header.last-event-id"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["watchVideo.200"];
            /** @description The client has received the outcome: there are no more events. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["Unauthorized"];
            404: components["responses"]["NotFound"];
            410: components["responses"]["Deleted"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    setPoster: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "time": 1.5
                 *     }
                 */
                "application/json": components["schemas"]["SetPosterRequest"];
            };
        };
        responses: {
            /** @description The video with its new poster. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Video"];
                };
            };
            202: components["responses"]["Processing"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOrigin"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    resetPoster: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The video with the restored poster. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Video"];
                };
            };
            202: components["responses"]["Processing"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOrigin"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    mintDeliveryTokens: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "expires_in": 3600,
                 *       "parameters": {
                 *         "time": 1.5
                 *       },
                 *       "types": [
                 *         "thumbnail"
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["CreateDeliveryTokensRequest"];
            };
        };
        responses: {
            /** @description The tokens and links. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "expires_at": "2026-01-01T01:00:00.000Z",
                     *       "tokens": [
                     *         {
                     *           "token": "eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiI3eWNqNGphbnp6YzVxMjBzYnJjNXBxMHYzNSIsImF1ZCI6InQiLCJleHAiOjE3NjcyMjkyMDAsInRpbWUiOiIxLjUifQ.xE185uQt8f_Vm5wYG4fuw3vr9exU6MEay738w3v_q6g",
                     *           "type": "thumbnail",
                     *           "urls": {
                     *             "thumbnail.avif": {
                     *               "short": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.avif?time=1.5&expires=1767229200&kid=2026&sig=77X5Wi1GYb-nM3PLllvp7wiHX4PdfWYQB-MIArtRPxc",
                     *               "token": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.avif?token=eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiI3eWNqNGphbnp6YzVxMjBzYnJjNXBxMHYzNSIsImF1ZCI6InQiLCJleHAiOjE3NjcyMjkyMDAsInRpbWUiOiIxLjUifQ.xE185uQt8f_Vm5wYG4fuw3vr9exU6MEay738w3v_q6g"
                     *             },
                     *             "thumbnail.jpg": {
                     *               "short": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?time=1.5&expires=1767229200&kid=2026&sig=ZZVXpFVIKxALPqoXKhJE1Q213G2fh1P5aKGbRfJGzk4",
                     *               "token": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?token=eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiI3eWNqNGphbnp6YzVxMjBzYnJjNXBxMHYzNSIsImF1ZCI6InQiLCJleHAiOjE3NjcyMjkyMDAsInRpbWUiOiIxLjUifQ.xE185uQt8f_Vm5wYG4fuw3vr9exU6MEay738w3v_q6g"
                     *             },
                     *             "thumbnail.png": {
                     *               "short": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.png?time=1.5&expires=1767229200&kid=2026&sig=zsNlKBSh_kKpl_TPIz_iERj-tjhkDr-HnCDbE_KkvkI",
                     *               "token": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.png?token=eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiI3eWNqNGphbnp6YzVxMjBzYnJjNXBxMHYzNSIsImF1ZCI6InQiLCJleHAiOjE3NjcyMjkyMDAsInRpbWUiOiIxLjUifQ.xE185uQt8f_Vm5wYG4fuw3vr9exU6MEay738w3v_q6g"
                     *             },
                     *             "thumbnail.webp": {
                     *               "short": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?time=1.5&expires=1767229200&kid=2026&sig=f-8Ra5LFBveH34lj5LZE3jvyMSKS04w6PzXDK8c9zIE",
                     *               "token": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?token=eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJzdWIiOiI3eWNqNGphbnp6YzVxMjBzYnJjNXBxMHYzNSIsImF1ZCI6InQiLCJleHAiOjE3NjcyMjkyMDAsInRpbWUiOiIxLjUifQ.xE185uQt8f_Vm5wYG4fuw3vr9exU6MEay738w3v_q6g"
                     *             }
                     *           }
                     *         }
                     *       ],
                     *       "video": "7ycj4janzzc5q20sbrc5pq0v35"
                     *     }
                     */
                    "application/json": components["schemas"]["DeliveryTokensResponse"];
                };
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOrigin"];
            404: components["responses"]["NotFound"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    callback: {
        parameters: {
            query?: {
                /**
                 * @description The provider's code.
                 * @example SplxlOBeZQQYbYS6WxSbIA
                 */
                code?: string;
                /**
                 * @description The state of the sign-in.
                 * @example xcoVv98y2kd44vuqwye3kcq
                 */
                state?: string;
                /** @description The provider's error code. */
                error?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description If `state` begins with `loopback.PORT.`: to the command-line tool that has started the sign-in, on that port of the browser's machine. */
            200: {
                headers: {
                    /** @description The tool's URL, with the parameters of this request. */
                    refresh?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description To the path of the sign-in; to `/` if the sign-in is already completed and the browser signed in; or to `/?sign_in=failed`. */
            302: {
                headers: {
                    /** @description The page. */
                    location?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
            404: components["responses"]["NotFound"];
            500: components["responses"]["Internal"];
        };
    };
    login: {
        parameters: {
            query?: {
                /**
                 * @description The path to return to.
                 * @example /7ycj4janzzc5q20sbrc5pq0v35
                 */
                return_to?: string;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description To the provider. */
            302: {
                headers: {
                    /** @description The provider's page. */
                    location?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
            404: components["responses"]["NotFound"];
            500: components["responses"]["Internal"];
            /** @description `upstream`: The storage service did not respond correctly. Try again. */
            502: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "code": "upstream",
                     *       "detail": "The storage service did not respond correctly. Try again.",
                     *       "error": "The storage service did not respond correctly. Try again.",
                     *       "message": "The storage service did not respond correctly. Try again.",
                     *       "requestId": "8d1f2ab3c4d5e6f7",
                     *       "request_id": "8d1f2ab3c4d5e6f7",
                     *       "status": 502,
                     *       "title": "Storage error",
                     *       "type": "urn:glimpse:problem:upstream"
                     *     }
                     */
                    "application/problem+json": {
                        /** @enum {unknown} */
                        code?: "upstream";
                        /** @constant */
                        status?: 502;
                    } & components["schemas"]["Problem"];
                };
            };
        };
    };
    logout: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The session cookie is removed. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOrigin"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    health: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The Worker is running. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            500: components["responses"]["Internal"];
        };
    };
    oembed: {
        parameters: {
            query: {
                /**
                 * @description The URL of the video's page.
                 * @example https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35
                 */
                url: string;
                /** @description The maximum width of the frame, in pixels. */
                maxwidth?: number;
                /** @description The maximum height of the frame, in pixels. */
                maxheight?: number;
                /** @description The format of the response; for any other, oEmbed requires 501. */
                format?: "json";
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A frame with the page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "cache_age": 300,
                     *       "height": 360,
                     *       "html": "<iframe src=\"https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35\" width=\"640\" height=\"360\" title=\"Video\" loading=\"lazy\" allow=\"fullscreen\" allowfullscreen frameborder=\"0\" style=\"border:0\"></iframe>",
                     *       "provider_name": "Glimpse",
                     *       "provider_url": "https://video.example.com",
                     *       "thumbnail_height": 360,
                     *       "thumbnail_url": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?v=5d41402a",
                     *       "thumbnail_width": 640,
                     *       "title": "Video",
                     *       "type": "video",
                     *       "version": "1.0",
                     *       "width": 640
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            202: components["responses"]["Processing"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            /** @description `format_not_made`: This format is not available. Request JSON instead. */
            501: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "code": "format_not_made",
                     *       "detail": "This format is not available. Request JSON instead.",
                     *       "error": "This format is not available. Request JSON instead.",
                     *       "message": "This format is not available. Request JSON instead.",
                     *       "requestId": "8d1f2ab3c4d5e6f7",
                     *       "request_id": "8d1f2ab3c4d5e6f7",
                     *       "status": 501,
                     *       "title": "Format not supported",
                     *       "type": "urn:glimpse:problem:format_not_made"
                     *     }
                     */
                    "application/problem+json": {
                        /** @enum {unknown} */
                        code?: "format_not_made";
                        /** @constant */
                        status?: 501;
                    } & components["schemas"]["Problem"];
                };
            };
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    createMultipart: {
        parameters: {
            query?: never;
            header?: {
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: components["requestBodies"]["createMultipart"];
        responses: {
            200: components["responses"]["createMultipart.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenOriginOrTokenUsedUp"];
            409: components["responses"]["AlreadyUploaded"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    listParts: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["listParts.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKey"];
            404: components["responses"]["NotFound"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    abortMultipart: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["abortMultipart.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKeyOrForbiddenOrigin"];
            404: components["responses"]["NotFound"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    signParts: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
                /**
                 * @description 1 to 100 part numbers, separated by commas.
                 * @example 1
                 */
                partNumbers: components["parameters"]["query.partNumbers"];
                /** @description The part's length in bytes, if known: S3 then accepts no other. An upload token for files of at most 5 MiB requires it. */
                size?: components["parameters"]["query.size.signParts"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["signParts.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKey"];
            404: components["responses"]["NotFound"];
            413: components["responses"]["TooLarge"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    completeMultipart: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["completeMultipart"];
        responses: {
            /** @description The video. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "bucket": "glimpse-videos",
                     *       "key": "uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35",
                     *       "location": "https://glimpse-videos.s3.eu-central-1.amazonaws.com/uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35",
                     *       "video": {
                     *         "bytes": 7340032,
                     *         "content_type": "video/mp4",
                     *         "created_at": "2026-01-01T00:00:00.000Z",
                     *         "dominant_color": null,
                     *         "duration_ms": null,
                     *         "has_audio": null,
                     *         "height": null,
                     *         "id": "7ycj4janzzc5q20sbrc5pq0v35",
                     *         "name": "clip.mp4",
                     *         "poster_ms": null,
                     *         "problem": null,
                     *         "state": "processing",
                     *         "thumbhash": null,
                     *         "trace_id": "fe64892557ff616e206578616d706c65",
                     *         "urls": {
                     *           "animated.gif": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.gif",
                     *           "animated.mp4": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.mp4",
                     *           "animated.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.webp",
                     *           "storyboard.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.jpg",
                     *           "storyboard.json": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.json",
                     *           "storyboard.vtt": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.vtt",
                     *           "storyboard.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.webp",
                     *           "thumbnail.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg",
                     *           "thumbnail.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp"
                     *         },
                     *         "visibility": "public",
                     *         "width": null
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["CompleteMultipartResponse"];
                    "application/xml": unknown;
                };
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKeyOrForbiddenOrigin"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["AlreadyUploaded"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    signPart: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
                /** @description The part's length in bytes, if known: S3 then accepts no other. An upload token for files of at most 5 MiB requires it. */
                size?: components["parameters"]["query.size.signParts"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
                /**
                 * @description The part number.
                 * @example 1
                 */
                part: components["parameters"]["path.part"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["signPart.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKey"];
            404: components["responses"]["NotFound"];
            413: components["responses"]["TooLarge"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    uppyParams: {
        parameters: {
            query: {
                /**
                 * @description The file's name.
                 * @example clip.mp4
                 */
                filename: components["parameters"]["query.filename"];
                /** @description Its length in bytes. Required only for storage without POST forms. */
                size?: components["parameters"]["query.size.uppyParams"];
                /**
                 * @description Its media type. If it is unknown, empty or absent, the type follows from the file extension.
                 * @example video/mp4
                 */
                type?: components["parameters"]["query.type"];
            };
            header?: {
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["uppyParams.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenUsedUp"];
            409: components["responses"]["AlreadyUploaded"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    presign: {
        parameters: {
            query?: never;
            header?: {
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: components["requestBodies"]["presign"];
        responses: {
            200: components["responses"]["presign.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            /**
             * @description `forbidden_key`: This video belongs to another user.
             *
             *     `forbidden_origin`: Requests from this site are not allowed.
             *
             *     `token_used_up`: All videos of this upload token have already been uploaded.
             */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** @enum {unknown} */
                        code?: "forbidden_key" | "forbidden_origin" | "token_used_up";
                        /** @constant */
                        status?: 403;
                    } & components["schemas"]["Problem"];
                };
            };
            404: components["responses"]["NotFound"];
            409: components["responses"]["AlreadyUploaded"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    meWithToken: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["me.200"];
            401: components["responses"]["Unauthorized"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    sendVideoWithToken: {
        parameters: {
            query: {
                /**
                 * @description The file's name.
                 * @example clip.mp4
                 */
                name: components["parameters"]["query.name.sendVideo"];
            };
            header?: {
                /** @description `wait=30`: the response is sent when the outcome is known, after 30 s at the latest. */
                prefer?: components["parameters"]["header.prefer"];
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["sendVideo"];
        responses: {
            200: components["responses"]["createVideoWithToken.200"];
            201: components["responses"]["sendVideoWithToken.201"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenUsedUp"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["AlreadyUploaded"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    createVideoWithToken: {
        parameters: {
            query?: {
                /** @description The file's name, if the body is the file itself. */
                name?: components["parameters"]["query.name.createVideo"];
            };
            header?: {
                /** @description `wait=30`: the response is sent when the outcome is known, after 30 s at the latest. */
                prefer?: components["parameters"]["header.prefer"];
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["createVideo"];
        responses: {
            200: components["responses"]["createVideoWithToken.200"];
            /** @description For JSON, the request that uploads the file; for a file, the video. */
            201: {
                headers: {
                    location: components["headers"]["location"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "upload": {
                     *         "expires_at": "2026-01-01T00:15:00.000Z",
                     *         "headers": {
                     *           "content-type": "video/mp4",
                     *           "if-none-match": "*",
                     *           "x-amz-meta-external-id": "order%207",
                     *           "x-amz-meta-name": "clip.mp4",
                     *           "x-amz-meta-visibility": "public"
                     *         },
                     *         "method": "PUT",
                     *         "url": "https://glimpse-videos.s3.eu-central-1.amazonaws.com/uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101%2Feu-central-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match%3Bx-amz-meta-external-id%3Bx-amz-meta-name%3Bx-amz-meta-visibility&X-Amz-Signature=eb3e8954b2c6c9fa2a8079d5b880401aa20f497e99cf4a4b50f2409ef1c6bbfc"
                     *       },
                     *       "video": {
                     *         "id": "7ycj4janzzc5q20sbrc5pq0v35",
                     *         "problem": null,
                     *         "state": "uploading",
                     *         "trace_id": "fe64892557ff616e206578616d706c65"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["CreateVideoStatusResponse"] | components["schemas"]["UploadVideoStatusResponse"];
                };
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenUsedUp"];
            409: components["responses"]["AlreadyUploaded"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    sendNamedVideoWithToken: {
        parameters: {
            query?: never;
            header?: {
                /** @description `wait=30`: the response is sent when the outcome is known, after 30 s at the latest. */
                prefer?: components["parameters"]["header.prefer"];
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
                /**
                 * @description The file's name, with its extension.
                 * @example clip.mp4
                 */
                name: components["parameters"]["path.name"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["sendVideo"];
        responses: {
            200: components["responses"]["createVideoWithToken.200"];
            201: components["responses"]["sendVideoWithToken.201"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenUsedUp"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            409: components["responses"]["AlreadyUploaded"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    showVideoWithToken: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The video. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "id": "7ycj4janzzc5q20sbrc5pq0v35",
                     *       "problem": null,
                     *       "state": "ready"
                     *     }
                     */
                    "application/json": components["schemas"]["VideoStatus"];
                };
            };
            401: components["responses"]["Unauthorized"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            410: components["responses"]["Deleted"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    watchVideoWithToken: {
        parameters: {
            query?: never;
            header?: {
                /** @description The id of the last received event: no event is sent twice. */
                "last-event-id"?: components["parameters"]["header.last-event-id"];
            };
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["watchVideo.200"];
            /** @description The client has received the outcome: there are no more events. */
            204: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            401: components["responses"]["Unauthorized"];
            404: components["responses"]["NotFound"];
            410: components["responses"]["Deleted"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    createMultipartWithToken: {
        parameters: {
            query?: never;
            header?: {
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["createMultipart"];
        responses: {
            200: components["responses"]["createMultipart.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenUsedUp"];
            409: components["responses"]["AlreadyUploaded"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    listPartsWithToken: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["listParts.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKey"];
            404: components["responses"]["NotFound"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    abortMultipartWithToken: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["abortMultipart.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKey"];
            404: components["responses"]["NotFound"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    signPartsWithToken: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
                /**
                 * @description 1 to 100 part numbers, separated by commas.
                 * @example 1
                 */
                partNumbers: components["parameters"]["query.partNumbers"];
                /** @description The part's length in bytes, if known: S3 then accepts no other. An upload token for files of at most 5 MiB requires it. */
                size?: components["parameters"]["query.size.signParts"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["signParts.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKey"];
            404: components["responses"]["NotFound"];
            413: components["responses"]["TooLarge"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    completeMultipartWithToken: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["completeMultipart"];
        responses: {
            /** @description The video. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "bucket": "glimpse-videos",
                     *       "key": "uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35",
                     *       "location": "https://glimpse-videos.s3.eu-central-1.amazonaws.com/uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35",
                     *       "video": {
                     *         "id": "7ycj4janzzc5q20sbrc5pq0v35",
                     *         "problem": null,
                     *         "state": "processing"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["CompleteMultipartStatusResponse"];
                    "application/xml": unknown;
                };
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKey"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["AlreadyUploaded"];
            410: components["responses"]["Deleted"];
            413: components["responses"]["TooLarge"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    signPartWithToken: {
        parameters: {
            query: {
                /**
                 * @description The key of the upload, unchanged.
                 * @example uploads/DbjR_VPh_SzBBJs1MdQV1A/7ycj4janzzc5q20sbrc5pq0v35
                 */
                key: components["parameters"]["query.key"];
                /** @description The part's length in bytes, if known: S3 then accepts no other. An upload token for files of at most 5 MiB requires it. */
                size?: components["parameters"]["query.size.signParts"];
            };
            header?: never;
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
                /**
                 * @description The upload id.
                 * @example VXBsb2FkIElEIGZvciBjbGlwLm1wNA
                 */
                uploadId: components["parameters"]["path.uploadId"];
                /**
                 * @description The part number.
                 * @example 1
                 */
                part: components["parameters"]["path.part"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["signPart.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["ForbiddenKey"];
            404: components["responses"]["NotFound"];
            413: components["responses"]["TooLarge"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    uppyParamsWithToken: {
        parameters: {
            query: {
                /**
                 * @description The file's name.
                 * @example clip.mp4
                 */
                filename: components["parameters"]["query.filename"];
                /** @description Its length in bytes. Required only for storage without POST forms. */
                size?: components["parameters"]["query.size.uppyParams"];
                /**
                 * @description Its media type. If it is unknown, empty or absent, the type follows from the file extension.
                 * @example video/mp4
                 */
                type?: components["parameters"]["query.type"];
            };
            header?: {
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["uppyParams.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenUsedUp"];
            409: components["responses"]["AlreadyUploaded"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    presignWithToken: {
        parameters: {
            query?: never;
            header?: {
                /** @description The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed value is ignored. */
                traceparent?: components["parameters"]["header.traceparent"];
            };
            path: {
                /**
                 * @description The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.
                 * @example eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwic3ViIjoiYWxpY2UiLCJhdWQiOiJodHRwczovL3ZpZGVvLmV4YW1wbGUuY29tL3UiLCJpYXQiOjE3NjcyMjU2MDAsImV4cCI6MTc2NzIyOTIwMCwianRpIjoiNzI2MTZlNjQ2ZjZkMmMyMDMxMzYyMDYyNzk3NDY1NzMiLCJtYXhfYnl0ZXMiOjEwMDAwMDAwMH0.F13Zo4LXuf9G2ZBjDXl1wmhRazDiPvZv7M1Sw5QfKsI
                 */
                token: components["parameters"]["path.token"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["presign"];
        responses: {
            200: components["responses"]["presign.200"];
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            /**
             * @description `forbidden_key`: This video belongs to another user.
             *
             *     `token_used_up`: All videos of this upload token have already been uploaded.
             */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** @enum {unknown} */
                        code?: "forbidden_key" | "token_used_up";
                        /** @constant */
                        status?: 403;
                    } & components["schemas"]["Problem"];
                };
            };
            404: components["responses"]["NotFound"];
            409: components["responses"]["AlreadyUploaded"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["TypeNotAllowed"];
            422: components["responses"]["Empty"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    videoPage: {
        parameters: {
            query?: never;
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The page. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description `processing`: The images of this video are still being generated. Try again in a moment. */
            202: {
                headers: {
                    "retry-after": components["headers"]["retry-after"];
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `bad_parameter`: A request parameter is missing or invalid. */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description `unauthorized`: The request has no valid token or session. Sign in first. */
            401: {
                headers: {
                    "www-authenticate": components["headers"]["www-authenticate"];
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description `not_found`: There is nothing at this URL. */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": {
                        /** @enum {unknown} */
                        code?: "not_found";
                        /** @constant */
                        status?: 404;
                    } & components["schemas"]["Problem"];
                    "text/html": string;
                };
            };
            /** @description `superseded`: The uploaded file was replaced by another file. */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /**
             * @description `deleted`: This video was deleted by its owner.
             *
             *     `source_gone`: The uploaded file was deleted before its images were generated.
             */
            410: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /**
             * @description `decoder_crash`: The file is malformed: the decoder could not process it.
             *
             *     `empty`: The file is empty.
             *
             *     `encrypted`: The video is encrypted and cannot be decoded.
             *
             *     `no_video_stream`: The file has no video track.
             *
             *     `not_a_video`: The file is not a video, regardless of its name.
             *
             *     `timed_out`: Decoding the video took too long.
             *
             *     `too_long`: The video is longer than allowed.
             *
             *     `too_many_pixels`: The video's resolution is higher than 8K.
             *
             *     `too_many_streams`: The file has more tracks than allowed.
             *
             *     `too_much_memory`: Decoding this video needs more memory than this service has.
             *
             *     `truncated`: The file is damaged or incomplete: no frame can be decoded.
             *
             *     `unsupported_codec`: This video format cannot be decoded.
             */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description `busy`: Too many requests at once. Try again in a moment. */
            429: {
                headers: {
                    "retry-after": components["headers"]["retry-after"];
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /**
             * @description `internal`: An internal error occurred.
             *
             *     `no_decoder`: No working video decoder is installed. The operator of this service must fix this.
             */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /**
             * @description `no_access`: This service is not allowed to access its storage. The operator must fix its permissions.
             *
             *     `upstream`: The storage service did not respond correctly. Try again.
             */
            502: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
        };
    };
    videoPageWithSlash: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description To the URL without the slash. */
            301: {
                headers: {
                    /** @description The page, with the query of the request. */
                    location?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
            404: components["responses"]["NotFound"];
            500: components["responses"]["Internal"];
        };
    };
    animatedGif: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description Start of the clip, in seconds.
                 * @example 1
                 */
                start?: components["parameters"]["query.start"];
                /**
                 * @description End of the clip, in seconds: 0.25 to 10 after the start; 5 after it by default.
                 * @example 3.5
                 */
                end?: components["parameters"]["query.end"];
                /**
                 * @description Width in pixels; without it, by the aspect ratio, or at most 320 if `height` is not set either.
                 * @example 480
                 */
                width?: components["parameters"]["query.width.animatedGif"];
                /** @description Height in pixels; without it, by the aspect ratio. */
                height?: components["parameters"]["query.height.animatedGif"];
                /** @description The maximum frame rate. */
                fps?: components["parameters"]["query.fps"];
                /** @description The maximum size in bytes: quality is reduced first, then frames and dimensions. */
                max_bytes?: components["parameters"]["query.max_bytes"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["animatedGif.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["animatedGif.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    animatedMp4: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description Start of the clip, in seconds.
                 * @example 1
                 */
                start?: components["parameters"]["query.start"];
                /**
                 * @description End of the clip, in seconds: 0.25 to 10 after the start; 5 after it by default.
                 * @example 3.5
                 */
                end?: components["parameters"]["query.end"];
                /**
                 * @description Width in pixels; without it, by the aspect ratio, or at most 320 if `height` is not set either.
                 * @example 480
                 */
                width?: components["parameters"]["query.width.animatedGif"];
                /** @description Height in pixels; without it, by the aspect ratio. */
                height?: components["parameters"]["query.height.animatedGif"];
                /** @description The maximum frame rate. */
                fps?: components["parameters"]["query.fps"];
                /** @description The maximum size in bytes: quality is reduced first, then frames and dimensions. */
                max_bytes?: components["parameters"]["query.max_bytes"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["animatedMp4.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["animatedMp4.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    animatedWebp: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description Start of the clip, in seconds.
                 * @example 1
                 */
                start?: components["parameters"]["query.start"];
                /**
                 * @description End of the clip, in seconds: 0.25 to 10 after the start; 5 after it by default.
                 * @example 3.5
                 */
                end?: components["parameters"]["query.end"];
                /**
                 * @description Width in pixels; without it, by the aspect ratio, or at most 320 if `height` is not set either.
                 * @example 480
                 */
                width?: components["parameters"]["query.width.animatedGif"];
                /** @description Height in pixels; without it, by the aspect ratio. */
                height?: components["parameters"]["query.height.animatedGif"];
                /** @description The maximum frame rate. */
                fps?: components["parameters"]["query.fps"];
                /** @description The maximum size in bytes: quality is reduced first, then frames and dimensions. */
                max_bytes?: components["parameters"]["query.max_bytes"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["animatedWebp.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["animatedWebp.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    clipMp4: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description Start of the clip, in seconds.
                 * @example 0.5
                 */
                start?: number;
                /**
                 * @description End of the clip, in seconds: 0.25 to 60 after the start; 10 after it by default.
                 * @example 3
                 */
                end?: number;
                /** @description Whether the clip has the video's sound. */
                audio?: "true" | "false";
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["animatedMp4.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["animatedMp4.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    videoMeta: {
        parameters: {
            query?: never;
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The metadata. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "animated": {
                     *         "height": 360,
                     *         "width": 640
                     *       },
                     *       "dominant_color": "#4a6b8c",
                     *       "duration_ms": 60040,
                     *       "height": 1080,
                     *       "id": "7ycj4janzzc5q20sbrc5pq0v35",
                     *       "page": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35",
                     *       "poster": {
                     *         "height": 360,
                     *         "width": 640
                     *       },
                     *       "srcset": {
                     *         "jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?width=320 320w, https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?v=5d41402a 640w, https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?width=960 960w, https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?width=1280 1280w",
                     *         "webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?width=320 320w, https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?v=5d41402a 640w, https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?width=960 960w, https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?width=1280 1280w"
                     *       },
                     *       "thumbhash": "2/cNFIJYd3iHiIdwiIiHeIhXoAkG",
                     *       "title": "Video",
                     *       "urls": {
                     *         "animated.gif": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.gif?v=5d41402a",
                     *         "animated.mp4": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.mp4?v=5d41402a",
                     *         "animated.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/animated.webp?v=5d41402a",
                     *         "storyboard.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.jpg?v=5d41402a",
                     *         "storyboard.json": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.json?v=5d41402a",
                     *         "storyboard.vtt": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.vtt?v=5d41402a",
                     *         "storyboard.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.webp?v=5d41402a",
                     *         "thumbnail.jpg": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.jpg?v=5d41402a",
                     *         "thumbnail.webp": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/thumbnail.webp?v=5d41402a"
                     *       },
                     *       "width": 1920
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            202: components["responses"]["Processing"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    original: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description To the bucket, with a URL that is valid for some minutes. */
            302: {
                headers: {
                    /** @description A secret: the URL gives access to the file. */
                    location?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            429: components["responses"]["Busy"];
            500: components["responses"]["Internal"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    storyboardJpg: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /** @description Start of the part that is shown, in seconds. The times in the tables count from it. */
                asset_start_time?: components["parameters"]["query.asset_start_time"];
                /** @description End of the part that is shown, in seconds. */
                asset_end_time?: components["parameters"]["query.asset_end_time"];
                /**
                 * @description The number of tiles; not together with `interval`.
                 * @example 4
                 */
                tiles?: components["parameters"]["query.tiles"];
                /** @description Seconds from one tile to the next, at least 0.1; not together with `tiles`. */
                interval?: components["parameters"]["query.interval"];
                /** @description Width of one tile in pixels; without it, the longer side is 192. */
                width?: components["parameters"]["query.width.storyboardJpg"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["storyboardJpg.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["storyboardJpg.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    storyboardJson: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /** @description Start of the part that is shown, in seconds. The times in the tables count from it. */
                asset_start_time?: components["parameters"]["query.asset_start_time"];
                /** @description End of the part that is shown, in seconds. */
                asset_end_time?: components["parameters"]["query.asset_end_time"];
                /**
                 * @description The number of tiles; not together with `interval`.
                 * @example 4
                 */
                tiles?: components["parameters"]["query.tiles"];
                /** @description Seconds from one tile to the next, at least 0.1; not together with `tiles`. */
                interval?: components["parameters"]["query.interval"];
                /** @description Width of one tile in pixels; without it, the longer side is 192. */
                width?: components["parameters"]["query.width.storyboardJpg"];
                /** @description The format of the sheet in the table. Allowed beside `token`. */
                format?: components["parameters"]["query.format"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The table. */
            200: {
                headers: {
                    "cache-control": components["headers"]["cache-control"];
                    etag: components["headers"]["etag"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "duration": 60.04,
                     *       "tile_height": 108,
                     *       "tile_width": 192,
                     *       "tiles": [
                     *         {
                     *           "start": 0,
                     *           "x": 0,
                     *           "y": 0
                     *         },
                     *         {
                     *           "start": 15.01,
                     *           "x": 192,
                     *           "y": 0
                     *         },
                     *         {
                     *           "start": 30.02,
                     *           "x": 384,
                     *           "y": 0
                     *         },
                     *         {
                     *           "start": 45.03,
                     *           "x": 576,
                     *           "y": 0
                     *         }
                     *       ],
                     *       "url": "https://video.example.com/7ycj4janzzc5q20sbrc5pq0v35/storyboard.jpg?tiles=4"
                     *     }
                     */
                    "application/json": Record<string, never>;
                };
            };
            202: components["responses"]["Processing"];
            /** @description The requested range. */
            206: {
                headers: {
                    "content-range": components["headers"]["content-range"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": unknown;
                };
            };
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    storyboardM3u8: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /** @description Start of the part that is shown, in seconds. The times in the tables count from it. */
                asset_start_time?: components["parameters"]["query.asset_start_time"];
                /** @description End of the part that is shown, in seconds. */
                asset_end_time?: components["parameters"]["query.asset_end_time"];
                /**
                 * @description The number of tiles; not together with `interval`.
                 * @example 4
                 */
                tiles?: components["parameters"]["query.tiles"];
                /** @description Seconds from one tile to the next, at least 0.1; not together with `tiles`. */
                interval?: components["parameters"]["query.interval"];
                /** @description Width of one tile in pixels; without it, the longer side is 192. */
                width?: components["parameters"]["query.width.storyboardJpg"];
                /** @description The format of the sheet in the table. Allowed beside `token`. */
                format?: components["parameters"]["query.format"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The table. */
            200: {
                headers: {
                    "cache-control": components["headers"]["cache-control"];
                    etag: components["headers"]["etag"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example #EXTM3U
                     *     #EXT-X-VERSION:7
                     *     #EXT-X-TARGETDURATION:61
                     *     #EXT-X-PLAYLIST-TYPE:VOD
                     *     #EXT-X-IMAGES-ONLY
                     *     #EXTINF:60.040,
                     *     #EXT-X-TILES:RESOLUTION=192x108,LAYOUT=4x1,DURATION=15.010000
                     *     storyboard.jpg?tiles=4
                     *     #EXT-X-ENDLIST
                     */
                    "application/vnd.apple.mpegurl": string;
                };
            };
            202: components["responses"]["Processing"];
            /** @description The requested range. */
            206: {
                headers: {
                    "content-range": components["headers"]["content-range"];
                    [name: string]: unknown;
                };
                content: {
                    "application/vnd.apple.mpegurl": string;
                };
            };
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    storyboardVtt: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /** @description Start of the part that is shown, in seconds. The times in the tables count from it. */
                asset_start_time?: components["parameters"]["query.asset_start_time"];
                /** @description End of the part that is shown, in seconds. */
                asset_end_time?: components["parameters"]["query.asset_end_time"];
                /**
                 * @description The number of tiles; not together with `interval`.
                 * @example 4
                 */
                tiles?: components["parameters"]["query.tiles"];
                /** @description Seconds from one tile to the next, at least 0.1; not together with `tiles`. */
                interval?: components["parameters"]["query.interval"];
                /** @description Width of one tile in pixels; without it, the longer side is 192. */
                width?: components["parameters"]["query.width.storyboardJpg"];
                /** @description The format of the sheet in the table. Allowed beside `token`. */
                format?: components["parameters"]["query.format"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The table. */
            200: {
                headers: {
                    "cache-control": components["headers"]["cache-control"];
                    etag: components["headers"]["etag"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example WEBVTT
                     *
                     *     00:00:00.000 --> 00:00:15.010
                     *     storyboard.jpg?tiles=4#xywh=0,0,192,108
                     *
                     *     00:00:15.010 --> 00:00:30.020
                     *     storyboard.jpg?tiles=4#xywh=192,0,192,108
                     *
                     *     00:00:30.020 --> 00:00:45.030
                     *     storyboard.jpg?tiles=4#xywh=384,0,192,108
                     *
                     *     00:00:45.030 --> 00:01:00.040
                     *     storyboard.jpg?tiles=4#xywh=576,0,192,108
                     */
                    "text/vtt; charset=utf-8": string;
                };
            };
            202: components["responses"]["Processing"];
            /** @description The requested range. */
            206: {
                headers: {
                    "content-range": components["headers"]["content-range"];
                    [name: string]: unknown;
                };
                content: {
                    "text/vtt; charset=utf-8": string;
                };
            };
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    storyboardWebp: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /** @description Start of the part that is shown, in seconds. The times in the tables count from it. */
                asset_start_time?: components["parameters"]["query.asset_start_time"];
                /** @description End of the part that is shown, in seconds. */
                asset_end_time?: components["parameters"]["query.asset_end_time"];
                /**
                 * @description The number of tiles; not together with `interval`.
                 * @example 4
                 */
                tiles?: components["parameters"]["query.tiles"];
                /** @description Seconds from one tile to the next, at least 0.1; not together with `tiles`. */
                interval?: components["parameters"]["query.interval"];
                /** @description Width of one tile in pixels; without it, the longer side is 192. */
                width?: components["parameters"]["query.width.storyboardJpg"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["animatedWebp.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["animatedWebp.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    thumbnailAvif: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description The time, in seconds; without it, that of the poster.
                 * @example 1.5
                 */
                time?: components["parameters"]["query.time.thumbnailAvif"];
                /**
                 * @description Width in pixels; without it, by the aspect ratio, or at most 640 if `height` is not set either.
                 * @example 400
                 */
                width?: components["parameters"]["query.width.thumbnailAvif"];
                /** @description Height in pixels; without it, by the aspect ratio. */
                height?: components["parameters"]["query.height.thumbnailAvif"];
                /** @description How the frame is fitted to width and height, if both are set: `preserve` fits it inside and never enlarges it, `stretch` changes its aspect ratio, `crop` cuts equally on both sides, `smartcrop` cuts where there is the least detail, `pad` adds black edges. */
                fit_mode?: components["parameters"]["query.fit_mode"];
                /** @description Degrees clockwise. */
                rotate?: components["parameters"]["query.rotate"];
                /** @description Flip vertically. */
                flip_v?: components["parameters"]["query.flip_v"];
                /** @description Flip horizontally. */
                flip_h?: components["parameters"]["query.flip_h"];
                /** @description Radius of a Gaussian blur in pixels of the image: its standard deviation, as in CSS. */
                blur?: components["parameters"]["query.blur"];
                /** @description Quality of the encoder: by default 81 for JPEG, 80 for WebP and 57 for AVIF; not for PNG. */
                quality?: components["parameters"]["query.quality"];
                /** @description Draw a play button and the length of the video, for mail and other places that show only images. */
                play?: components["parameters"]["query.play"];
                /** @description Factor for width and height, or for the default width, for screens with more than one pixel per CSS pixel. */
                dpr?: components["parameters"]["query.dpr"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The image. */
            200: {
                headers: {
                    "cache-control": components["headers"]["cache-control"];
                    etag: components["headers"]["etag"];
                    [name: string]: unknown;
                };
                content: {
                    "image/avif": unknown;
                };
            };
            202: components["responses"]["Processing"];
            /** @description The requested range. */
            206: {
                headers: {
                    "content-range": components["headers"]["content-range"];
                    [name: string]: unknown;
                };
                content: {
                    "image/avif": unknown;
                };
            };
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    thumbnailJpg: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description The time, in seconds; without it, that of the poster.
                 * @example 1.5
                 */
                time?: components["parameters"]["query.time.thumbnailAvif"];
                /**
                 * @description Width in pixels; without it, by the aspect ratio, or at most 640 if `height` is not set either.
                 * @example 400
                 */
                width?: components["parameters"]["query.width.thumbnailAvif"];
                /** @description Height in pixels; without it, by the aspect ratio. */
                height?: components["parameters"]["query.height.thumbnailAvif"];
                /** @description How the frame is fitted to width and height, if both are set: `preserve` fits it inside and never enlarges it, `stretch` changes its aspect ratio, `crop` cuts equally on both sides, `smartcrop` cuts where there is the least detail, `pad` adds black edges. */
                fit_mode?: components["parameters"]["query.fit_mode"];
                /** @description Degrees clockwise. */
                rotate?: components["parameters"]["query.rotate"];
                /** @description Flip vertically. */
                flip_v?: components["parameters"]["query.flip_v"];
                /** @description Flip horizontally. */
                flip_h?: components["parameters"]["query.flip_h"];
                /** @description Radius of a Gaussian blur in pixels of the image: its standard deviation, as in CSS. */
                blur?: components["parameters"]["query.blur"];
                /** @description Quality of the encoder: by default 81 for JPEG, 80 for WebP and 57 for AVIF; not for PNG. */
                quality?: components["parameters"]["query.quality"];
                /** @description Draw a play button and the length of the video, for mail and other places that show only images. */
                play?: components["parameters"]["query.play"];
                /** @description Factor for width and height, or for the default width, for screens with more than one pixel per CSS pixel. */
                dpr?: components["parameters"]["query.dpr"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["storyboardJpg.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["storyboardJpg.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    thumbnailPng: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description The time, in seconds; without it, that of the poster.
                 * @example 1.5
                 */
                time?: components["parameters"]["query.time.thumbnailAvif"];
                /**
                 * @description Width in pixels; without it, by the aspect ratio, or at most 640 if `height` is not set either.
                 * @example 400
                 */
                width?: components["parameters"]["query.width.thumbnailAvif"];
                /** @description Height in pixels; without it, by the aspect ratio. */
                height?: components["parameters"]["query.height.thumbnailAvif"];
                /** @description How the frame is fitted to width and height, if both are set: `preserve` fits it inside and never enlarges it, `stretch` changes its aspect ratio, `crop` cuts equally on both sides, `smartcrop` cuts where there is the least detail, `pad` adds black edges. */
                fit_mode?: components["parameters"]["query.fit_mode"];
                /** @description Degrees clockwise. */
                rotate?: components["parameters"]["query.rotate"];
                /** @description Flip vertically. */
                flip_v?: components["parameters"]["query.flip_v"];
                /** @description Flip horizontally. */
                flip_h?: components["parameters"]["query.flip_h"];
                /** @description Radius of a Gaussian blur in pixels of the image: its standard deviation, as in CSS. */
                blur?: components["parameters"]["query.blur"];
                /** @description Quality of the encoder: by default 81 for JPEG, 80 for WebP and 57 for AVIF; not for PNG. */
                quality?: components["parameters"]["query.quality"];
                /** @description Draw a play button and the length of the video, for mail and other places that show only images. */
                play?: components["parameters"]["query.play"];
                /** @description Factor for width and height, or for the default width, for screens with more than one pixel per CSS pixel. */
                dpr?: components["parameters"]["query.dpr"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The image. */
            200: {
                headers: {
                    "cache-control": components["headers"]["cache-control"];
                    etag: components["headers"]["etag"];
                    [name: string]: unknown;
                };
                content: {
                    "image/png": unknown;
                };
            };
            202: components["responses"]["Processing"];
            /** @description The requested range. */
            206: {
                headers: {
                    "content-range": components["headers"]["content-range"];
                    [name: string]: unknown;
                };
                content: {
                    "image/png": unknown;
                };
            };
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    thumbnailWebp: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description The time, in seconds; without it, that of the poster.
                 * @example 1.5
                 */
                time?: components["parameters"]["query.time.thumbnailAvif"];
                /**
                 * @description Width in pixels; without it, by the aspect ratio, or at most 640 if `height` is not set either.
                 * @example 400
                 */
                width?: components["parameters"]["query.width.thumbnailAvif"];
                /** @description Height in pixels; without it, by the aspect ratio. */
                height?: components["parameters"]["query.height.thumbnailAvif"];
                /** @description How the frame is fitted to width and height, if both are set: `preserve` fits it inside and never enlarges it, `stretch` changes its aspect ratio, `crop` cuts equally on both sides, `smartcrop` cuts where there is the least detail, `pad` adds black edges. */
                fit_mode?: components["parameters"]["query.fit_mode"];
                /** @description Degrees clockwise. */
                rotate?: components["parameters"]["query.rotate"];
                /** @description Flip vertically. */
                flip_v?: components["parameters"]["query.flip_v"];
                /** @description Flip horizontally. */
                flip_h?: components["parameters"]["query.flip_h"];
                /** @description Radius of a Gaussian blur in pixels of the image: its standard deviation, as in CSS. */
                blur?: components["parameters"]["query.blur"];
                /** @description Quality of the encoder: by default 81 for JPEG, 80 for WebP and 57 for AVIF; not for PNG. */
                quality?: components["parameters"]["query.quality"];
                /** @description Draw a play button and the length of the video, for mail and other places that show only images. */
                play?: components["parameters"]["query.play"];
                /** @description Factor for width and height, or for the default width, for screens with more than one pixel per CSS pixel. */
                dpr?: components["parameters"]["query.dpr"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["animatedWebp.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["animatedWebp.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    streamAnimation: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description The time, such as `1m2s`.
                 * @example 1s
                 */
                time?: components["parameters"]["query.time.streamAnimation"];
                /**
                 * @description Width in pixels.
                 * @example 320
                 */
                width?: number;
                /** @description Height in pixels. */
                height?: number;
                /** @description How the frame is fitted to width and height. */
                fit?: components["parameters"]["query.fit"];
                /**
                 * @description The duration, 0.25 to 10 s, such as `2s`.
                 * @example 2s
                 */
                duration?: string;
                /** @description The maximum frame rate. */
                fps?: number;
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["animatedGif.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["animatedGif.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
    streamThumbnail: {
        parameters: {
            query?: {
                /** @description For a private video: a JWT in Mux's format, which contains the image parameters; then no other parameter. */
                token?: components["parameters"]["query.token"];
                /** @description For a private video, with `kid` and `sig`: expiry of the link, in Unix seconds. */
                expires?: components["parameters"]["query.expires"];
                /** @description The id of the key of `sig`. */
                kid?: components["parameters"]["query.kid"];
                /** @description The HMAC-SHA256 of path and parameters. */
                sig?: components["parameters"]["query.sig"];
                /** @description The revision in the URLs of the API: with it, the image is cached for a year. */
                v?: components["parameters"]["query.v"];
                /**
                 * @description The time, such as `1m2s`.
                 * @example 1s
                 */
                time?: components["parameters"]["query.time.streamAnimation"];
                /**
                 * @description Width in pixels.
                 * @example 320
                 */
                width?: number;
                /** @description Height in pixels. */
                height?: number;
                /** @description How the frame is fitted to width and height. */
                fit?: components["parameters"]["query.fit"];
            };
            header?: {
                /** @description The ETag of the client's copy. */
                "if-none-match"?: components["parameters"]["header.if-none-match"];
                /** @description A range of the image, such as `bytes=0-999`. */
                range?: components["parameters"]["header.range"];
            };
            path: {
                /**
                 * @description The video's id.
                 * @example 7ycj4janzzc5q20sbrc5pq0v35
                 */
                video: components["parameters"]["path.video"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            200: components["responses"]["storyboardJpg.200"];
            202: components["responses"]["Processing"];
            206: components["responses"]["storyboardJpg.206"];
            /** @description The client's copy is current. */
            304: {
                headers: {
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadParameter"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["TokenRefused"];
            404: components["responses"]["NotFound"];
            409: components["responses"]["Superseded"];
            410: components["responses"]["DeletedOrSourceGone"];
            416: components["responses"]["animatedGif.416"];
            422: components["responses"]["Problem422"];
            429: components["responses"]["Busy"];
            500: components["responses"]["InternalOrNoDecoder"];
            502: components["responses"]["NoAccessOrUpstream"];
        };
    };
}
