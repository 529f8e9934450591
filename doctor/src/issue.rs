//! Decides what may be wrong with a deployment, and what mends it: one enum, one table, the same as in docs/operating.md.

macro_rules! issues {
    ($($variant:ident $word:literal $title:literal $fix:literal)*) => {
        /// What is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Issue {
            $(#[doc = $title] $variant,)*
        }

        impl Issue {
            /// Every issue there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The word for machines, and for the search in the docs.
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// What is wrong, in a sentence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),* }
            }

            /// What mends it.
            pub fn fix(self) -> &'static str {
                match self { $(Self::$variant => $fix),* }
            }
        }
    };
}

issues! {
    Unreachable "unreachable" "Nobody answers at the address."
        "Look whether the domain is the Worker's (`npx wrangler deployments list`, the domain's DNS records); a new custom domain and its certificate take some minutes."
    NotGlimpse "not_glimpse" "Something answers there that is not Glimpse."
        "Say the Worker's own origin, and look for another route, redirect or access rule before it."
    Misconfigured "misconfigured" "The Worker is not configured."
        "`npx wrangler tail` names each variable and secret that is missing or wrong; `cargo xtask deploy` sets them."
    NoToken "no_token" "There is no token, so nothing behind the sign-in was looked at."
        "Set GLIMPSE_TOKEN to a bearer token of your issuer, or, where people only sign in with a browser, GLIMPSE_COOKIE to the session cookie (`name=value`) of somebody who did."
    TokenExpired "token_expired" "The token has expired, or is not good yet."
        "Take a fresh one; if it is fresh, set the clock of whoever makes tokens."
    TokenRefused "token_refused" "The Worker does not take the token."
        "`iss` has to be JWT_ISSUER, `aud` JWT_AUDIENCE, and the signature by JWT_SECRET (HS256) or by a key of JWT_JWKS_URL; `npx wrangler tail` shows whether the key set could be fetched."
    Limited "limited" "Too many requests by this person or for this video."
        "Try again in a minute; the limits are `[[ratelimits]]` of wrangler.toml."
    GrantRefused "grant_refused" "The Worker grants no upload."
        "Do as the sentence says: MAX_UPLOAD_BYTES, an upload token's own limits."
    OurClock "our_clock" "The clock of this machine differs from the Worker's."
        "Set this machine's clock by NTP: tokens made here are not good, or too long."
    BucketUnreachable "bucket_unreachable" "Nobody answers at the bucket's address."
        "Correct S3_BUCKET, S3_REGION and, for an S3 that is not AWS's, S3_ENDPOINT."
    BucketClock "bucket_clock" "The clocks of the Worker and of S3 differ, so signatures do not hold."
        "Set the clock of the S3 server by NTP; AWS and Cloudflare keep their own."
    CorsOrigin "cors_origin" "The bucket's CORS does not know the page's origin."
        "Deploy with `--origin` and, for each other site whose pages upload, `--allow-origin`; on a bucket of your own, add the origin to AllowedOrigins."
    CorsMethod "cors_method" "The bucket's CORS does not allow PUT and POST."
        "AllowedMethods has to hold GET, HEAD, PUT, POST and DELETE, as in template.yaml."
    CorsHeaders "cors_headers" "The bucket's CORS does not allow the headers that are signed."
        "AllowedHeaders has to be `*`, as in template.yaml."
    CorsEtag "cors_etag" "The bucket's CORS does not expose ETag, so no browser can upload in parts."
        "ExposeHeaders has to hold ETag, as in template.yaml."
    NotEnforced "not_enforced" "S3 takes an upload that was not signed so."
        "This S3 does not check signed headers: docs/storage.md lists those that do."
    WrongKey "wrong_key" "S3 does not know the Worker's access key."
        "`cargo xtask deploy --new-key` hands over a new pair; else `npx wrangler secret put S3_ACCESS_KEY_ID`."
    WrongSecret "wrong_secret" "S3 refuses the Worker's signature."
        "S3_SECRET_ACCESS_KEY is not the other half of S3_ACCESS_KEY_ID: `cargo xtask deploy --new-key` hands over a new pair."
    WrongRegion "wrong_region" "The bucket is in another region than the Worker signs for."
        "Correct S3_REGION."
    WrongBucket "wrong_bucket" "There is no such bucket."
        "Correct S3_BUCKET: it is the stack's output BucketName."
    UploadDenied "upload_denied" "The Worker's key may not write uploads."
        "Give its user the policy of template.yaml (`EdgeUser`) again, and look for a bucket policy or an organisation's rule that denies."
    UploadRefused "upload_refused" "S3 does not take the upload."
        "Look up S3's own code."
    Replaceable "replaceable" "A video can be uploaded over another one."
        "This storage ignores If-None-Match on PUT, as Garage 2.5.0 does, so uploads and manifests are not write-once: a signed URL can be used again until it expires. docs/storage.md says it of each storage."
    PublicSource "public_source" "Everybody can download sources without a token."
        "Turn on the bucket's Block Public Access and remove what makes it public: policies, ACLs. template.yaml's bucket is private."
    PublicList "public_list" "Everybody can list the bucket."
        "Turn on the bucket's Block Public Access and remove what makes it public: policies, ACLs. template.yaml's bucket is private."
    EdgeDenied "edge_denied" "The Worker's key may not read what it serves."
        "Give its user the policy of template.yaml (`EdgeUser`) again."
    NoOutcome "no_outcome" "Nothing became of the upload in time."
        "In this order: does the bucket notify the upload queue for `uploads/` (messages sent: the dashboard)? does the queue wake `preview` (its trigger is enabled, invocations)? `aws logs tail /aws/lambda/STACK-preview --since 15m`: does it start, and may it write `media/`?"
    NoDecoder "no_decoder" "The functions have no ffmpeg that runs."
        "The layer is missing or for another processor: deploy again with the `--arch` of the functions."
    EngineDenied "engine_denied" "The role of a function may not do what it has to."
        "`aws logs tail /aws/lambda/STACK-preview --since 15m` says what S3 refused: give the role its policy of template.yaml again."
    EngineFailed "engine_failed" "The function that makes pictures fails."
        "`aws logs tail /aws/lambda/STACK-preview --since 15m`: `why` says it."
    EngineRefused "engine_refused" "The function refuses a good video."
        "The layer's ffmpeg lacks what it should have: `layer/verify` says what."
    NoPicture "no_picture" "A picture that exists is not served."
        "`npx wrangler tail` says what S3 answered."
    NoCache "no_cache" "The edge keeps no picture: each view costs a request to S3."
        "Give the Worker a custom domain (`cargo xtask deploy --origin https://video.example.com`): on workers.dev the Cache API stores nothing."
    NotConditional "not_conditional" "A copy that is still good, or a part of a picture, is sent whole."
        "Look for something before the Worker that changes or removes ETag, If-None-Match or Range."
    NoRender "no_render" "No pictures are made on demand."
        "Set RENDER_URL of the Worker to the stack's output RenderUrl."
    RenderRefused "render_refused" "The function that makes pictures on demand does not answer the Worker."
        "`npx wrangler tail` says what it answered: 403 means that the Worker's key may not call it or RENDER_URL is in another region than S3_REGION; else `aws logs tail /aws/lambda/STACK-render --since 15m`."
    RoleTooNarrow "role_too_narrow" "A part may not do what it has to."
        "Run the command that stands with it: it puts back what the stack's template says, or takes away what denies. To deploy again does not, since CloudFormation compares templates and not what is in force."
    RoleTooWide "role_too_wide" "Somebody may do what he must not."
        "Run the command that stands with it: it takes away what was added, or puts back what the stack's template says. To deploy again does not, since CloudFormation compares templates and not what is in force."
    RolesUnseen "roles_unseen" "The roles could not be looked at by these credentials, which says nothing about the deployment."
        "Say the right `--stack`, `--region` and AWS_PROFILE, or give yourself the actions that are named: all of them only read."
    NotDeleted "not_deleted" "A video cannot be deleted."
        "Give the Worker's user the policy of template.yaml (`EdgeUser`) again: deleting, listing and writing `media/`."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_table_is_printable() {
        let mut words: Vec<_> = Issue::ALL.iter().map(|issue| issue.code()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Issue::ALL.len(), "words are distinct");
        for issue in Issue::ALL {
            assert!(
                issue.title().ends_with('.') && issue.fix().ends_with(['.', '?', ')']),
                "{issue:?}: sentences"
            );
            assert!(!issue.title().contains('|') && !issue.fix().contains('|'), "{issue:?}: fits a table");
        }
    }
}
