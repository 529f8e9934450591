//! Decides how the `render` Lambda is asked for a picture, and what its answers mean. Pure.

use glimpse_contract::{Code, Json, Manifest, PictureRequest, Problem, State, VideoId};

use crate::config::Config;
use crate::s3::sigv4::{Authorize, SignError, authorize};

/// How long a picture may take to be made, in milliseconds.
pub(super) const PATIENCE_MS: u32 = 30_000;
/// The largest answer that is read, in bytes: Lambda allows 6 MB,
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
pub(super) const MAX_ANSWER_BYTES: usize = 6 * 1024 * 1024;
/// It is no `GET`: between here and the function, nobody may think of caching it.
pub(super) const METHOD: &str = "POST";

/// A request to the function, signed. The headers are a secret, never logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RenderRequest {
    /// The address: the video and the picture's canonical name.
    pub(super) url: String,
    /// The headers with the signature.
    pub(super) headers: Vec<(String, String)>,
}

/// Whether this picture may be made now: not one that exists before anybody asks, of a video that is ready. Whoever asks
/// may see it.
pub(super) fn may_be_made(wanted: &PictureRequest, manifest: &Manifest) -> bool {
    !wanted.variant.is_default() && manifest.state == State::Ready
}

/// The request for what is made of a video under this name; `None` if this deployment makes nothing on demand.
pub(super) fn request(
    video: VideoId,
    name: &str,
    config: &Config,
    now_ms: u64,
) -> Option<Result<RenderRequest, SignError>> {
    let origin = config.render_url.as_ref()?;
    let url = format!("{origin}/{video}/{name}");
    let unsigned = Authorize { method: METHOD, url: &url, service: "lambda" };
    let signed = authorize(&unsigned, &config.credentials, &config.location.region, now_ms);
    Some(signed.map(|headers| RenderRequest { url, headers }))
}

/// What the function answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The picture is the body, and lies in the bucket.
    Made,
    /// The picture lies in the bucket, and is too large for a function's answer.
    Stored,
    /// There is none; the client is told why.
    Refused(Problem),
    /// The function, or what guards it, did not answer as it should.
    Trouble(Problem),
}

/// What an answer of the function means.
pub(super) fn meaning(status: u16, body: &[u8]) -> Answer {
    match status {
        200 => return Answer::Made,
        204 => return Answer::Stored,
        429 => return Answer::Trouble(Problem::new(Code::Busy)),
        _ => {}
    }
    let refusal = Json::read(body).unwrap_or_default();
    let code = Code::of_json(refusal.get("code"));
    match refusal.get("detail").text() {
        // Only what is the picture's or the video's own fault is worth telling; a status that is not the code's is
        // not the function's.
        Some(detail) if code.status() == status && matches!(status, 202 | 400..=499) => {
            Answer::Refused(Problem::because(code, detail))
        }
        // Whoever operates the deployment has to know which of its parts is wrong.
        Some(_) if code.status() == status && code.is_operators() => Answer::Trouble(Problem::new(code)),
        _ => Answer::Trouble(Problem::new(Code::Upstream)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::with;

    fn wanted(query: &str) -> PictureRequest {
        PictureRequest::parse("/7zzzzzzzzz0123456789abcdef/thumbnail.jpg", Some(query)).unwrap().unwrap()
    }

    #[test]
    fn the_function_is_asked_by_the_canonical_name() {
        let config = with(&[("RENDER_URL", "https://abc.lambda-url.eu-central-1.on.aws/")]);
        let wanted = wanted("width=200&time=1.50");
        let name = wanted.variant.file_name();
        let request = request(wanted.video, &name, &config, 0).unwrap().unwrap();
        assert_eq!(
            request.url,
            "https://abc.lambda-url.eu-central-1.on.aws/7zzzzzzzzz0123456789abcdef/thumbnail-time_1.5-width_200.jpg"
        );
        let authorization =
            request.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value.as_str());
        assert!(authorization.unwrap().contains("Credential=AKID/19700101/eu-central-1/lambda/aws4_request"));
        assert!(super::request(wanted.video, &name, &with(&[]), 0).is_none());
    }

    #[test]
    fn an_answer_means_what_its_status_says() {
        let refusal = |code: Code| Problem::because(code, "Why.").body("r").to_string().into_bytes();
        assert_eq!(meaning(200, b"\xff\xd8"), Answer::Made);
        assert_eq!(meaning(204, b""), Answer::Stored);
        assert_eq!(
            meaning(410, &refusal(Code::SourceGone)),
            Answer::Refused(Problem::because(Code::SourceGone, "Why."))
        );
        assert_eq!(
            meaning(400, &refusal(Code::BadParameter)),
            Answer::Refused(Problem::because(Code::BadParameter, "Why."))
        );
        for code in [Code::NoDecoder, Code::NoAccess] {
            assert_eq!(meaning(code.status(), &refusal(code)), Answer::Trouble(Problem::new(code)));
        }
        assert_eq!(meaning(429, b"{\"Reason\":\"x\"}"), Answer::Trouble(Problem::new(Code::Busy)));
        for (status, body) in [
            (403, br#"{"Message":"Forbidden"}"#.to_vec()),
            (502, b"Internal Server Error".to_vec()),
            (500, refusal(Code::Internal)),
            (502, refusal(Code::Upstream)),
            (404, refusal(Code::SourceGone)),
            (301, Vec::new()),
        ] {
            assert_eq!(meaning(status, &body), Answer::Trouble(Problem::new(Code::Upstream)), "{status}");
        }
    }
}
