//! Checks of the bucket: region, CORS, signed uploads, and access without a signature.

use bytes::Bytes;
use http::Method;

use crate::edge::ClipGrant;
use crate::http::{WebRequest, WebResponse};
use crate::issue::Issue;
use crate::report::Finding;
use crate::{CLIP, CheckContext, CheckResult, clock, fail};

/// Methods of uploads: PUT for files and parts, POST for forms.
const METHODS: [Method; 2] = [Method::PUT, Method::POST];

async fn send(context: &CheckContext<'_>, request: WebRequest<'_>) -> Result<WebResponse, Finding> {
    context.client.send(request).await.map_err(|why| Finding::new(Issue::BucketUnreachable, why))
}

/// Checks that the bucket responds in the expected region, and S3's clock.
pub(crate) async fn check_reachable(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    let url = strip_query(&grant.url);
    let response = send(context, WebRequest::new(Method::GET, url)).await?;
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    if error_code(&response) == "NoSuchBucket" {
        return fail(Issue::WrongBucket, describe_error(&response));
    }
    let (expected_region, actual_region) =
        (signed_region(&grant.url), response.header("x-amz-bucket-region"));
    if matches!(response.status, 301 | 307) || (!actual_region.is_empty() && actual_region != expected_region)
    {
        return fail(
            Issue::WrongRegion,
            format!("signed for {expected_region}: {} {actual_region}", describe_error(&response)),
        );
    }
    let ((), observed) = clock::check_bucket(response.header("date"), grant.granted_at)?;
    Ok(((), format!("{host} responds; {observed}")))
}

/// Checks that the bucket's CORS configuration allows the signed requests from each origin whose pages upload.
pub(crate) async fn check_cors(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    let mut names: Vec<_> = grant.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    let names = names.join(",");
    let origins = context.origins();
    for origin in &origins {
        let with = |method: &Method, names: &str| {
            let mut request = WebRequest::new(Method::OPTIONS, &grant.url)
                .with_header("origin", *origin)
                .with_header("access-control-request-method", method.as_str());
            if !names.is_empty() {
                request = request.with_header("access-control-request-headers", names);
            }
            request
        };
        for method in METHODS {
            let response = send(context, with(&method, &names)).await?;
            if is_allowed_origin(&response, origin) {
                continue;
            }
            let observed = format!("{method} from {origin}: {}", describe_error(&response));
            // Find out what is not allowed by requests without the headers, and with a method that every rule allows.
            let without_headers = send(context, with(&method, "")).await?;
            let with_get = send(context, with(&Method::GET, "")).await?;
            return fail(
                match (is_allowed_origin(&without_headers, origin), is_allowed_origin(&with_get, origin)) {
                    (true, _) => Issue::CorsHeaders,
                    (false, true) => Issue::CorsMethod,
                    (false, false) => Issue::CorsOrigin,
                },
                observed,
            );
        }
    }
    Ok(((), format!("pages of {} can upload", origins.join(", "))))
}

fn is_allowed_origin(response: &WebResponse, origin: &str) -> bool {
    let allowed = response.header("access-control-allow-origin");
    matches!(response.status, 200 | 204) && (allowed == origin || allowed == "*")
}

/// Checks that S3 rejects an upload with another type than the signed one.
pub(crate) async fn check_enforcement(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    let mut request = put_request(grant);
    request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    check_other_type(&send(context, request.with_header("content-type", "text/html")).await?)
}

fn check_other_type(response: &WebResponse) -> CheckResult<()> {
    if (400..500).contains(&response.status) {
        return Ok(((), format!("another type is rejected: {}", describe_error(response))));
    }
    fail(Issue::NotEnforced, format!("an upload of another type: {}", describe_error(response)))
}

/// Checks that S3 accepts the upload, and exposes the ETag that a page needs for multipart uploads.
pub(crate) async fn check_upload(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    let origins = context.origins();
    let origin = origins.first().copied().unwrap_or_default();
    let response = send(context, put_request(grant).with_header("origin", origin)).await?;
    check_upload_response(&response)?;
    let exposed = response.header("access-control-expose-headers");
    let is_exposed =
        exposed.split(',').any(|name| name.trim().eq_ignore_ascii_case("etag") || name.trim() == "*");
    if !is_exposed {
        return fail(Issue::CorsEtag, format!("exposed headers: {exposed}"));
    }
    Ok(((), format!("{} bytes uploaded", CLIP.len())))
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
fn check_upload_response(response: &WebResponse) -> CheckResult<()> {
    if response.status == 200 {
        return Ok(((), String::new()));
    }
    let body = String::from_utf8_lossy(&response.body);
    let issue = match error_code(response).as_str() {
        "InvalidAccessKeyId" => Issue::WrongKey,
        "SignatureDoesNotMatch" => Issue::WrongSecret,
        "RequestTimeTooSkewed" => Issue::BucketClock,
        "AccessDenied" if body.contains("expired") || body.contains("not valid yet") => Issue::BucketClock,
        "AccessDenied" | "AllAccessDisabled" => Issue::UploadDenied,
        "NoSuchBucket" => Issue::WrongBucket,
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => Issue::WrongRegion,
        "AuthorizationQueryParametersError" if body.contains("region") => Issue::WrongRegion,
        _ if matches!(response.status, 301 | 307) => Issue::WrongRegion,
        _ => Issue::UploadRefused,
    };
    fail(issue, describe_error(response))
}

/// Checks that a second upload with the same URL is rejected.
pub(crate) async fn check_write_once(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    check_second_upload(&send(context, put_request(grant)).await?)
}

fn check_second_upload(response: &WebResponse) -> CheckResult<()> {
    if (400..500).contains(&response.status) {
        return Ok(((), format!("a second upload is rejected: {}", describe_error(response))));
    }
    fail(Issue::Replaceable, format!("a second upload: {}", describe_error(response)))
}

/// Checks that neither the source nor a listing is readable without a signature.
pub(crate) async fn check_private(context: &CheckContext<'_>, grant: &ClipGrant) -> CheckResult<()> {
    let source = strip_query(&grant.url);
    let response = send(context, WebRequest::new(Method::GET, source)).await?;
    if response.status < 400 {
        return fail(Issue::PublicSource, format!("a source without a signature: {}", response.status));
    }
    let root = source.split_once("/uploads/").map_or(source, |(root, _)| root);
    let response =
        send(context, WebRequest::new(Method::GET, &format!("{root}/?list-type=2&max-keys=1"))).await?;
    if response.status < 400 {
        return fail(Issue::PublicList, format!("a listing without a signature: {}", response.status));
    }
    Ok(((), "neither the source nor a listing is public".into()))
}

fn put_request(grant: &ClipGrant) -> WebRequest<'_> {
    WebRequest {
        headers: grant.headers.clone(),
        body: Bytes::from_static(CLIP),
        ..WebRequest::new(Method::PUT, &grant.url)
    }
}

/// The URL without its query, which contains the signature.
fn strip_query(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// The region in a presigned URL's credential scope; empty if the URL is not signed.
fn signed_region(url: &str) -> &str {
    let scope = url
        .split_once("X-Amz-Credential=")
        .map_or("", |(_, rest)| rest)
        .split('&')
        .next()
        .unwrap_or_default();
    scope.split("%2F").nth(2).unwrap_or_default()
}

fn xml_text(response: &WebResponse, name: &str) -> String {
    let body = String::from_utf8_lossy(&response.body).into_owned();
    let content = body.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once("</"));
    content.map(|(text, _)| text.chars().filter(|c| !c.is_control()).take(160).collect()).unwrap_or_default()
}

/// S3's error code.
fn error_code(response: &WebResponse) -> String {
    xml_text(response, "Code")
}

/// Status, and S3's error code and message. The rest of S3's error document is omitted, because it repeats the signed
/// request.
fn describe_error(response: &WebResponse) -> String {
    let parts = [response.status.to_string(), error_code(response), xml_text(response, "Message")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> WebResponse {
        let body =
            format!("<Error><Code>{code}</Code><Message>{message}</Message><Secret>hush</Secret></Error>");
        WebResponse { status, headers: http::HeaderMap::new(), body: Bytes::from(body) }
    }

    /// Error codes and messages from the AWS documentation.
    #[test]
    fn upload_error_codes_map_to_issues() {
        for (status, code, message, expected) in [
            (
                403,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
                Issue::WrongKey,
            ),
            (
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match",
                Issue::WrongSecret,
            ),
            (403, "RequestTimeTooSkewed", "The difference is too large.", Issue::BucketClock),
            (403, "AccessDenied", "Request has expired", Issue::BucketClock),
            (403, "AccessDenied", "Request is not valid yet", Issue::BucketClock),
            (403, "AccessDenied", "Access Denied", Issue::UploadDenied),
            (404, "NoSuchBucket", "The specified bucket does not exist", Issue::WrongBucket),
            (
                301,
                "PermanentRedirect",
                "The bucket must be addressed using the specified endpoint.",
                Issue::WrongRegion,
            ),
            (307, "", "", Issue::WrongRegion),
            (
                400,
                "AuthorizationQueryParametersError",
                "the region 'x' is wrong; expecting 'y'",
                Issue::WrongRegion,
            ),
            (
                400,
                "AuthorizationQueryParametersError",
                "X-Amz-Expires must be less than a week",
                Issue::UploadRefused,
            ),
            (503, "SlowDown", "Please reduce your request rate.", Issue::UploadRefused),
        ] {
            let finding = check_upload_response(&answer(status, code, message)).unwrap_err();
            assert_eq!(finding.issue, expected, "{status} {code} {message}");
            assert!(!finding.observed.contains("hush"), "{}", finding.observed);
        }
        assert!(check_upload_response(&answer(200, "", "")).is_ok());
    }

    #[test]
    fn reads_region_from_signed_url() {
        let url = "https://b.s3.eu-central-1.amazonaws.com/k?X-Amz-Credential=AKID%2F20261124%2Feu-central-1%2Fs3%2Faws4_request&x=1";
        assert_eq!((signed_region(url), signed_region("https://b.example/k")), ("eu-central-1", ""));
    }

    #[test]
    fn reports_storage_that_accepts_anything() {
        assert!(check_other_type(&answer(403, "AccessDenied", "")).is_ok());
        assert_eq!(check_other_type(&answer(200, "", "")).unwrap_err().issue, Issue::NotEnforced);
        assert!(check_second_upload(&answer(412, "PreconditionFailed", "")).is_ok());
        assert_eq!(check_second_upload(&answer(200, "", "")).unwrap_err().issue, Issue::Replaceable);
    }
}
