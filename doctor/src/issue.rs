//! Issues that the doctor can find, with their titles and fixes. The table in docs/operating.md has the same rows.

macro_rules! issues {
    ($($variant:ident $word:literal $title:literal $fix:literal)*) => {
        /// An issue of a deployment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Issue {
            $(#[doc = $title] $variant,)*
        }

        impl Issue {
            /// All issues.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The stable, machine-readable code, which can also be searched for in the documentation.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The issue in one sentence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// The suggested fix.
            pub fn fix(self) -> &'static str {
                match self { $(Self::$variant => $fix),* }
            }
        }
    };
}

issues! {
    Unreachable "unreachable" "No response from the Worker's address."
        "Check that the domain belongs to the Worker (`npx wrangler deployments list`, the domain's DNS records). A new custom domain and its certificate take a few minutes."
    NotGlimpse "not_glimpse" "The address does not serve Glimpse."
        "Pass the Worker's origin, and check for another route, redirect or access rule in front of it."
    Misconfigured "misconfigured" "The Worker is misconfigured."
        "`npx wrangler tail` shows each variable and secret that is missing or invalid; `cargo xtask deploy` sets them."
    NoToken "no_token" "There is no token, so nothing behind the sign-in was checked."
        "Set GLIMPSE_TOKEN to a bearer token of your issuer, or, where users sign in only with a browser, GLIMPSE_COOKIE to a user's session cookie (`name=value`)."
    TokenExpired "token_expired" "The token has expired or is not yet valid."
        "Get a new token. If the token is new, correct the clock of the token issuer."
    TokenRefused "token_refused" "The Worker rejects the token."
        "`iss` must be JWT_ISSUER, `aud` must be JWT_AUDIENCE, and the signature must be made with JWT_SECRET (HS256) or with a key of JWT_JWKS_URL. `npx wrangler tail` shows whether the key set could be fetched."
    Limited "limited" "Too many requests by this user or for this video."
        "Try again in a minute. The limits are `[[ratelimits]]` in wrangler.toml."
    GrantRefused "grant_refused" "The Worker does not grant an upload."
        "Check MAX_UPLOAD_BYTES and the upload token's limits, as the message says."
    OurClock "our_clock" "The clock of this machine differs from the Worker's."
        "Synchronize this machine's clock with NTP: tokens created here are not yet valid, or valid for too long."
    BucketUnreachable "bucket_unreachable" "No response from the bucket's address."
        "Correct S3_BUCKET, S3_REGION and, for an S3-compatible service other than AWS, S3_ENDPOINT."
    BucketClock "bucket_clock" "The clocks of the Worker and of S3 differ, so signatures are invalid."
        "Synchronize the clock of the S3 server with NTP. AWS and Cloudflare synchronize theirs."
    CorsOrigin "cors_origin" "The bucket's CORS configuration does not allow the page's origin."
        "Deploy with `--origin` and, for each other site whose pages upload, `--allow-origin`. For a bucket outside the stack, add the origin to AllowedOrigins."
    CorsMethod "cors_method" "The bucket's CORS configuration does not allow PUT and POST."
        "AllowedMethods must contain GET, HEAD, PUT, POST and DELETE, as in template.yaml."
    CorsHeaders "cors_headers" "The bucket's CORS configuration does not allow the signed headers."
        "AllowedHeaders must be `*`, as in template.yaml."
    CorsEtag "cors_etag" "The bucket's CORS configuration does not expose ETag, so browsers cannot use multipart uploads."
        "ExposeHeaders must contain ETag, as in template.yaml."
    NotEnforced "not_enforced" "S3 accepts an upload that does not match its signature."
        "This S3 implementation does not verify signed headers. docs/storage.md lists implementations that do."
    WrongKey "wrong_key" "S3 does not know the Worker's access key."
        "Run `cargo xtask deploy --new-key` to install a new key pair, or `npx wrangler secret put S3_ACCESS_KEY_ID`."
    WrongSecret "wrong_secret" "S3 rejects the Worker's signature."
        "S3_SECRET_ACCESS_KEY does not belong to S3_ACCESS_KEY_ID. Run `cargo xtask deploy --new-key` to install a new key pair."
    WrongRegion "wrong_region" "The bucket is in another region than the Worker signs for."
        "Correct S3_REGION."
    WrongBucket "wrong_bucket" "The bucket does not exist."
        "Correct S3_BUCKET: it is the stack's output BucketName."
    UploadDenied "upload_denied" "The Worker's key is not allowed to write uploads."
        "Restore the policy of the Worker's IAM user from template.yaml (`EdgeUser`), and check for a bucket policy or an organization's policy that denies access."
    UploadRefused "upload_refused" "S3 rejects the upload."
        "Look up S3's error code."
    Replaceable "replaceable" "An existing upload can be overwritten."
        "This storage ignores If-None-Match on PUT, as Garage 2.5.0 does, so uploads and manifests are not write-once: a signed URL can be reused until it expires. docs/storage.md lists the behavior of each storage."
    PublicSource "public_source" "Sources can be downloaded without a token."
        "Enable the bucket's Block Public Access, and remove the policies or ACLs that make it public. The bucket of template.yaml is private."
    PublicList "public_list" "The bucket can be listed without a signature."
        "Enable the bucket's Block Public Access, and remove the policies or ACLs that make it public. The bucket of template.yaml is private."
    EdgeDenied "edge_denied" "The Worker's key is not allowed to read objects that the Worker serves."
        "Restore the policy of the Worker's IAM user from template.yaml (`EdgeUser`)."
    NoOutcome "no_outcome" "The upload was not processed in time."
        "Check in this order: does the bucket notify the upload queue about `uploads/` (messages sent, on the dashboard)? Does the queue invoke `preview` (its trigger is enabled, invocations)? `aws logs tail /aws/lambda/STACK-preview --since 15m`: does it start, and is it allowed to write `media/`?"
    NoDecoder "no_decoder" "The functions have no working ffmpeg."
        "The layer is missing or built for another CPU architecture: deploy again with the `--arch` of the functions."
    EngineDenied "engine_denied" "The role of a function lacks a required permission."
        "`aws logs tail /aws/lambda/STACK-preview --since 15m` shows the request that S3 denied: restore the role's policy from template.yaml."
    EngineFailed "engine_failed" "The `preview` function fails."
        "The reason is in the field `why` of `aws logs tail /aws/lambda/STACK-preview --since 15m`."
    EngineRefused "engine_refused" "The function rejects a valid video."
        "The layer's ffmpeg lacks a required component: `layer/verify` shows which one."
    NoPicture "no_picture" "An existing image is not served."
        "`npx wrangler tail` shows the response of S3."
    NoCache "no_cache" "The edge does not cache images: each view costs a request to S3."
        "Configure a custom domain for the Worker (`cargo xtask deploy --origin https://video.example.com`): on workers.dev, the Cache API stores nothing."
    NotConditional "not_conditional" "Conditional and range requests get the full image."
        "Check for a proxy in front of the Worker that changes or removes ETag, If-None-Match or Range."
    NoRender "no_render" "On-demand images are disabled."
        "Set the Worker's RENDER_URL to the stack's output RenderUrl."
    RenderRefused "render_refused" "The `render` function does not respond to the Worker."
        "`npx wrangler tail` shows its response: 403 means that the Worker's key is not allowed to invoke it, or that RENDER_URL is in another region than S3_REGION; otherwise see `aws logs tail /aws/lambda/STACK-render --since 15m`."
    RoleTooNarrow "role_too_narrow" "An IAM role lacks a required permission."
        "Run the command shown with the issue: it restores the stack's template, or removes the deny rule. Redeploying does not fix this: CloudFormation compares templates, not deployed policies."
    RoleTooWide "role_too_wide" "An IAM role is too permissive."
        "Run the command shown with the issue: it removes the added permission, or restores the stack's template. Redeploying does not fix this: CloudFormation compares templates, not deployed policies."
    RolesUnseen "roles_unseen" "The roles could not be checked with these credentials. This is not an issue of the deployment."
        "Pass the right `--stack`, `--region` and AWS_PROFILE, or grant yourself the listed actions: all of them are read-only."
    NotDeleted "not_deleted" "A video cannot be deleted."
        "Restore the policy of the Worker's IAM user from template.yaml (`EdgeUser`): it allows deleting, listing and writing `media/`."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_table_is_printable() {
        let mut words: Vec<_> = Issue::ALL.iter().map(|issue| issue.code()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Issue::ALL.len(), "codes are distinct");
        for issue in Issue::ALL {
            assert!(
                issue.title().ends_with('.') && issue.fix().ends_with(['.', '?', ')']),
                "{issue:?}: sentences"
            );
            assert!(
                !issue.title().contains('|') && !issue.fix().contains('|'),
                "{issue:?}: must fit into a Markdown table"
            );
        }
    }
}
