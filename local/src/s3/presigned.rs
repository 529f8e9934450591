//! Checks of presigned URLs beyond their signature, and of unsigned requests: the region, the time by S3's clock, the
//! key, and anonymous access.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Method, StatusCode};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use percent_encoding::percent_decode_str;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use crate::config::S3Settings;

/// How far a signer's clock may be ahead, in seconds.
const SKEW_SECS: i64 = 15 * 60;

/// The only key pair.
pub(crate) struct StaticCredentials(pub(crate) Arc<S3Settings>);

#[async_trait]
impl S3Auth for StaticCredentials {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key_id {
            return Ok(SecretKey::from(self.0.secret_access_key.as_str()));
        }
        Err(s3_error!(
            InvalidAccessKeyId,
            "The AWS Access Key Id you provided does not exist in our records."
        ))
    }
}

/// Access without a signature.
pub(crate) struct AnonymousAccess {
    /// Whether the bucket is publicly readable.
    pub(crate) is_public: bool,
}

#[async_trait]
impl S3Access for AnonymousAccess {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let is_read = matches!(*context.method(), Method::GET | Method::HEAD);
        if context.credentials().is_some() || (self.is_public && is_read) {
            return Ok(());
        }
        Err(s3_error!(AccessDenied, "Access Denied"))
    }
}

/// Rejects a presigned URL for another region, or outside its validity by S3's clock.
pub(crate) fn check(query: &str, settings: &S3Settings, now: Timestamp) -> S3Result<()> {
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(parameter, _)| *parameter == name).map(|(_, value)| value);
        values.next().map(|value| percent_decode_str(value).decode_utf8_lossy().into_owned())
    };
    let Some(credential) = value("X-Amz-Credential") else { return Ok(()) };
    if let Some(region) = credential.rsplit('/').nth(2)
        && region != settings.region
    {
        let message = format!(
            "Error parsing the X-Amz-Credential parameter; the region '{region}' is wrong; expecting '{}'",
            settings.region
        );
        let code = S3ErrorCode::Custom("AuthorizationQueryParametersError".into());
        let mut error = S3Error::with_message(code, message);
        error.set_status_code(StatusCode::BAD_REQUEST);
        return Err(error);
    }
    // With a correct clock, s3s does the same.
    if settings.clock_skew_secs == 0 {
        return Ok(());
    }
    let now = now + SignedDuration::from_secs(settings.clock_skew_secs);
    let signed_at = value("X-Amz-Date")
        .and_then(|date| DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok())
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    let expires_secs = value("X-Amz-Expires").and_then(|secs| secs.parse::<i64>().ok());
    let (Some(signed_at), Some(expires_secs)) = (signed_at, expires_secs) else { return Ok(()) };
    let age_secs = now.as_second() - signed_at.timestamp().as_second();
    if age_secs < -SKEW_SECS {
        return Err(s3_error!(AccessDenied, "Request is not valid yet"));
    }
    if age_secs > expires_secs {
        return Err(s3_error!(AccessDenied, "Request has expired"));
    }
    Ok(())
}

/// The `Date` of a response by S3's clock; `None` if that is the system clock.
pub(crate) fn date_header(settings: &S3Settings, now: Timestamp) -> Option<HeaderValue> {
    if settings.clock_skew_secs == 0 {
        return None;
    }
    let now = now + SignedDuration::from_secs(settings.clock_skew_secs);
    let date = now.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::try_from(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_query(ahead_secs: i64, query: &str) -> Option<String> {
        let settings = S3Settings { clock_skew_secs: ahead_secs, ..S3Settings::default() };
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        check(query, &settings, now).err().map(|error| format!("{:?}", error.code()))
    }

    #[test]
    fn checks_region_and_time() {
        let query = "X-Amz-Credential=AKID%2F20261124%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20261124T120000Z&X-Amz-Expires=900";
        for (ahead_secs, is_refused) in [(0, false), (60, false), (901, true), (-840, false), (-901, true)] {
            assert_eq!(check_query(ahead_secs, query).is_some(), is_refused, "{ahead_secs}");
        }
        let elsewhere = query.replace("us-east-1", "eu-west-1");
        assert!(check_query(0, &elsewhere).unwrap().contains("AuthorizationQueryParametersError"));
        assert_eq!(check_query(0, "list-type=2"), None);
        let ahead = S3Settings { clock_skew_secs: 3600, ..S3Settings::default() };
        let date = date_header(&ahead, "2026-11-24T12:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(date, "Tue, 24 Nov 2026 13:00:00 GMT");
    }
}
