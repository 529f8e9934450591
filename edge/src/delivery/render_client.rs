//! Requests to the `render` Lambda, and the interpretation of its responses. Pure.

use glimpse_contract::{Code, Json, Manifest, Problem, State, VariantRequest, VideoId};

use crate::config::Config;
use crate::s3::sigv4::{HeaderSigningParams, SignError, sign_headers};

/// Timeout of rendering an image, in milliseconds.
pub(super) const TIMEOUT_MS: u32 = 30_000;
/// The largest response that is read, in bytes: Lambda allows 6 MB,
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>.
pub(super) const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;
/// Not `GET`: no intermediary between the Worker and the function may cache it.
pub(super) const METHOD: &str = "POST";

/// A signed request to the function. The headers are secret, and never logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RenderRequest {
    /// The URL with the video and the canonical name of the image.
    pub(super) url: String,
    /// The headers with the signature.
    pub(super) headers: Vec<(String, String)>,
}

/// Whether this image may be rendered now: it is made on demand, and the video is ready. The request is already
/// authorized.
pub(super) fn is_renderable(wanted: &VariantRequest, manifest: &Manifest) -> bool {
    wanted.variant.is_made_on_demand() && manifest.state == State::Ready
}

/// The request for an image of a video with this name; `None` if this deployment renders nothing on demand.
pub(super) fn sign_request(
    video: VideoId,
    name: &str,
    config: &Config,
    now_ms: u64,
) -> Option<Result<RenderRequest, SignError>> {
    let origin = config.render_url.as_ref()?;
    let url = format!("{origin}/{video}/{name}");
    let unsigned = HeaderSigningParams { method: METHOD, url: &url, service: "lambda" };
    let signed = sign_headers(&unsigned, &config.credentials, &config.bucket.region, now_ms);
    Some(signed.map(|headers| RenderRequest { url, headers }))
}

/// The response of the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RenderResponse {
    /// The body is the image, which is also in the bucket.
    Rendered,
    /// The image is in the bucket, and too large for the response of a function.
    Stored,
    /// The image cannot be rendered; the client gets the reason.
    Rejected(Problem),
    /// The function, or a gateway before it, returned an invalid response.
    Failed(Problem),
}

/// Interprets a response of the function.
pub(super) fn interpret(status: u16, body: &[u8]) -> RenderResponse {
    match status {
        200 => return RenderResponse::Rendered,
        204 => return RenderResponse::Stored,
        429 => return RenderResponse::Failed(Problem::new(Code::Busy)),
        _ => {}
    }
    let refusal = Json::parse(body).unwrap_or_default();
    let code = Code::from_json(refusal.get("code"));
    match refusal.get("detail").as_str() {
        // Only errors of the image or the video itself are passed on; a status that does not match the code is not from
        // the function.
        Some(detail) if code.status() == status && matches!(status, 202 | 400..=499) => {
            RenderResponse::Rejected(Problem::with_detail(code, detail))
        }
        // The operator has to know which component is misconfigured.
        Some(_) if code.status() == status && code.needs_operator() => {
            RenderResponse::Failed(Problem::new(code))
        }
        _ => RenderResponse::Failed(Problem::new(Code::Upstream)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::example_config_with;

    fn wanted(query: &str) -> VariantRequest {
        VariantRequest::parse("/7zzzzzzzzz0123456789abcdef/thumbnail.jpg", Some(query)).unwrap().unwrap()
    }

    #[test]
    fn request_uses_canonical_name() {
        let config = example_config_with(&[("RENDER_URL", "https://abc.lambda-url.eu-central-1.on.aws/")]);
        let wanted = wanted("width=200&time=1.50");
        let name = wanted.variant.file_name();
        let request = sign_request(wanted.video, &name, &config, 0).unwrap().unwrap();
        assert_eq!(
            request.url,
            "https://abc.lambda-url.eu-central-1.on.aws/7zzzzzzzzz0123456789abcdef/thumbnail-time_1.5-width_200.jpg"
        );
        let authorization =
            request.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value.as_str());
        assert!(authorization.unwrap().contains("Credential=AKID/19700101/eu-central-1/lambda/aws4_request"));
        assert!(super::sign_request(wanted.video, &name, &example_config_with(&[]), 0).is_none());
    }

    #[test]
    fn interprets_status_and_problem_code() {
        let refusal = |code: Code| Problem::with_detail(code, "Why.").body("r").to_string().into_bytes();
        assert_eq!(interpret(200, b"\xff\xd8"), RenderResponse::Rendered);
        assert_eq!(interpret(204, b""), RenderResponse::Stored);
        assert_eq!(
            interpret(410, &refusal(Code::SourceGone)),
            RenderResponse::Rejected(Problem::with_detail(Code::SourceGone, "Why."))
        );
        assert_eq!(
            interpret(400, &refusal(Code::BadParameter)),
            RenderResponse::Rejected(Problem::with_detail(Code::BadParameter, "Why."))
        );
        for code in [Code::NoDecoder, Code::NoAccess] {
            assert_eq!(interpret(code.status(), &refusal(code)), RenderResponse::Failed(Problem::new(code)));
        }
        assert_eq!(interpret(429, b"{\"Reason\":\"x\"}"), RenderResponse::Failed(Problem::new(Code::Busy)));
        for (status, body) in [
            (403, br#"{"Message":"Forbidden"}"#.to_vec()),
            (502, b"Internal Server Error".to_vec()),
            (500, refusal(Code::Internal)),
            (502, refusal(Code::Upstream)),
            (404, refusal(Code::SourceGone)),
            (301, Vec::new()),
        ] {
            assert_eq!(
                interpret(status, &body),
                RenderResponse::Failed(Problem::new(Code::Upstream)),
                "{status}"
            );
        }
    }
}
