//! Decides what S3's answers mean to whoever may upload one file, and to everybody else.

use bytes::Bytes;
use http::Method;

use crate::edge::Grant;
use crate::http::{Answer, Question};
use crate::issue::Ill;
use crate::report::Finding;
use crate::{CLIP, Found, Visit, clock, ill};

/// What uploads are sent with: whole files and parts by PUT, forms by POST.
const METHODS: [Method; 2] = [Method::PUT, Method::POST];

async fn ask(visit: &Visit<'_>, question: Question<'_>) -> Result<Answer, Finding> {
    visit.web.ask(question).await.map_err(|why| Finding::new(Ill::BucketUnreachable, why))
}

/// Whether somebody answers at the bucket's address, and what time it is there.
pub(crate) async fn reach(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    let url = unsigned(&grant.url);
    let answer = ask(visit, Question::new(Method::GET, url)).await?;
    let host = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
    if code(&answer) == "NoSuchBucket" {
        return ill(Ill::WrongBucket, told(&answer));
    }
    let (signed_for, lies_in) = (region(&grant.url), answer.header("x-amz-bucket-region"));
    if matches!(answer.status, 301 | 307) || (!lies_in.is_empty() && lies_in != signed_for) {
        return ill(Ill::WrongRegion, format!("signed for {signed_for}: {} {lies_in}", told(&answer)));
    }
    let ((), seen) = clock::buckets(answer.header("date"), grant.at)?;
    Ok(((), format!("{host} answers; {seen}")))
}

/// Whether browsers may send what is signed, from each page that uploads.
pub(crate) async fn preflight(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    let mut names: Vec<_> = grant.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    let names = names.join(",");
    let origins = visit.origins();
    for origin in &origins {
        let with = |method: &Method, names: &str| {
            let mut question = Question::new(Method::OPTIONS, &grant.url)
                .with("origin", *origin)
                .with("access-control-request-method", method.as_str());
            if !names.is_empty() {
                question = question.with("access-control-request-headers", names);
            }
            question
        };
        for method in METHODS {
            let answer = ask(visit, with(&method, &names)).await?;
            if allows(&answer, origin) {
                continue;
            }
            let seen = format!("{method} from {origin}: {}", told(&answer));
            // What is not allowed shows by what is: without the headers, and with a method that every rule has.
            let bare = ask(visit, with(&method, "")).await?;
            let get = ask(visit, with(&Method::GET, "")).await?;
            return ill(
                match (allows(&bare, origin), allows(&get, origin)) {
                    (true, _) => Ill::CorsHeaders,
                    (false, true) => Ill::CorsMethod,
                    (false, false) => Ill::CorsOrigin,
                },
                seen,
            );
        }
    }
    Ok(((), format!("pages of {} may upload", origins.join(", "))))
}

fn allows(answer: &Answer, origin: &str) -> bool {
    let allowed = answer.header("access-control-allow-origin");
    matches!(answer.status, 200 | 204) && (allowed == origin || allowed == "*")
}

/// Whether S3 refuses what was not signed: another type than was granted.
pub(crate) async fn limits(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    let mut question = put(grant);
    question.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
    judge_other(&ask(visit, question.with("content-type", "text/html")).await?)
}

fn judge_other(answer: &Answer) -> Found<()> {
    if (400..500).contains(&answer.status) {
        return Ok(((), format!("another type is refused: {}", told(answer))));
    }
    ill(Ill::NotEnforced, format!("an upload of another type: {}", told(answer)))
}

/// Whether S3 takes the upload, and lets a page read what it needs to go on.
pub(crate) async fn upload(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    let origins = visit.origins();
    let origin = origins.first().copied().unwrap_or_default();
    let answer = ask(visit, put(grant).with("origin", origin)).await?;
    judge_upload(&answer)?;
    let exposed = answer.header("access-control-expose-headers");
    let is_exposed =
        exposed.split(',').any(|name| name.trim().eq_ignore_ascii_case("etag") || name.trim() == "*");
    if !is_exposed {
        return ill(Ill::CorsEtag, format!("exposed are: {exposed}"));
    }
    Ok(((), format!("{} bytes are in the bucket", CLIP.len())))
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
fn judge_upload(answer: &Answer) -> Found<()> {
    if answer.status == 200 {
        return Ok(((), String::new()));
    }
    let body = String::from_utf8_lossy(&answer.body);
    let kind = match code(answer).as_str() {
        "InvalidAccessKeyId" => Ill::WrongKey,
        "SignatureDoesNotMatch" => Ill::WrongSecret,
        "RequestTimeTooSkewed" => Ill::BucketClock,
        "AccessDenied" if body.contains("expired") || body.contains("not valid yet") => Ill::BucketClock,
        "AccessDenied" | "AllAccessDisabled" => Ill::UploadDenied,
        "NoSuchBucket" => Ill::WrongBucket,
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => Ill::WrongRegion,
        "AuthorizationQueryParametersError" if body.contains("region") => Ill::WrongRegion,
        _ if matches!(answer.status, 301 | 307) => Ill::WrongRegion,
        _ => Ill::UploadRefused,
    };
    ill(kind, told(answer))
}

/// Whether the same URL can be used once more, over what is there.
pub(crate) async fn once(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    judge_again(&ask(visit, put(grant)).await?)
}

fn judge_again(answer: &Answer) -> Found<()> {
    if (400..500).contains(&answer.status) {
        return Ok(((), format!("a second upload is refused: {}", told(answer))));
    }
    ill(Ill::Replaceable, format!("a second upload: {}", told(answer)))
}

/// Whether somebody without a signature finds anything.
pub(crate) async fn private(visit: &Visit<'_>, grant: &Grant) -> Found<()> {
    let source = unsigned(&grant.url);
    let answer = ask(visit, Question::new(Method::GET, source)).await?;
    if answer.status < 400 {
        return ill(Ill::PublicSource, format!("a source without a signature: {}", answer.status));
    }
    let root = source.split_once("/uploads/").map_or(source, |(root, _)| root);
    let answer = ask(visit, Question::new(Method::GET, &format!("{root}/?list-type=2&max-keys=1"))).await?;
    if answer.status < 400 {
        return ill(Ill::PublicList, format!("a list without a signature: {}", answer.status));
    }
    Ok(((), "neither the source nor a list is there for everybody".into()))
}

fn put(grant: &Grant) -> Question<'_> {
    Question {
        headers: grant.headers.clone(),
        body: Bytes::from_static(CLIP),
        ..Question::new(Method::PUT, &grant.url)
    }
}

/// The address without the signature.
fn unsigned(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

/// The region that a URL is signed for; empty if it is not signed.
fn region(url: &str) -> &str {
    let scope = url
        .split_once("X-Amz-Credential=")
        .map_or("", |(_, rest)| rest)
        .split('&')
        .next()
        .unwrap_or_default();
    scope.split("%2F").nth(2).unwrap_or_default()
}

fn element(answer: &Answer, name: &str) -> String {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let inside = body.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once("</"));
    inside.map(|(text, _)| text.chars().filter(|c| !c.is_control()).take(160).collect()).unwrap_or_default()
}

/// S3's own code.
fn code(answer: &Answer) -> String {
    element(answer, "Code")
}

/// Status, code and message of S3's; the rest of its document repeats what was signed.
fn told(answer: &Answer) -> String {
    let parts = [answer.status.to_string(), code(answer), element(answer, "Message")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str, message: &str) -> Answer {
        let body =
            format!("<Error><Code>{code}</Code><Message>{message}</Message><Secret>hush</Secret></Error>");
        Answer { status, headers: http::HeaderMap::new(), body: Bytes::from(body) }
    }

    /// Codes and messages as AWS documents them.
    #[test]
    fn a_refused_upload_tells_what_is_wrong() {
        for (status, code, message, expected) in [
            (
                403,
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
                Ill::WrongKey,
            ),
            (
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match",
                Ill::WrongSecret,
            ),
            (403, "RequestTimeTooSkewed", "The difference is too large.", Ill::BucketClock),
            (403, "AccessDenied", "Request has expired", Ill::BucketClock),
            (403, "AccessDenied", "Request is not valid yet", Ill::BucketClock),
            (403, "AccessDenied", "Access Denied", Ill::UploadDenied),
            (404, "NoSuchBucket", "The specified bucket does not exist", Ill::WrongBucket),
            (
                301,
                "PermanentRedirect",
                "The bucket must be addressed using the specified endpoint.",
                Ill::WrongRegion,
            ),
            (307, "", "", Ill::WrongRegion),
            (
                400,
                "AuthorizationQueryParametersError",
                "the region 'x' is wrong; expecting 'y'",
                Ill::WrongRegion,
            ),
            (
                400,
                "AuthorizationQueryParametersError",
                "X-Amz-Expires must be less than a week",
                Ill::UploadRefused,
            ),
            (503, "SlowDown", "Please reduce your request rate.", Ill::UploadRefused),
        ] {
            let finding = judge_upload(&answer(status, code, message)).unwrap_err();
            assert_eq!(finding.ill, expected, "{status} {code} {message}");
            assert!(!finding.seen.contains("hush"), "{}", finding.seen);
        }
        assert!(judge_upload(&answer(200, "", "")).is_ok());
    }

    #[test]
    fn a_url_says_for_which_region_it_is_signed() {
        let url = "https://b.s3.eu-central-1.amazonaws.com/k?X-Amz-Credential=AKID%2F20261124%2Feu-central-1%2Fs3%2Faws4_request&x=1";
        assert_eq!((region(url), region("https://b.example/k")), ("eu-central-1", ""));
    }

    #[test]
    fn a_storage_that_takes_everything_is_named() {
        assert!(judge_other(&answer(403, "AccessDenied", "")).is_ok());
        assert_eq!(judge_other(&answer(200, "", "")).unwrap_err().ill, Ill::NotEnforced);
        assert!(judge_again(&answer(412, "PreconditionFailed", "")).is_ok());
        assert_eq!(judge_again(&answer(200, "", "")).unwrap_err().ill, Ill::Replaceable);
    }
}
