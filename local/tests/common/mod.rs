//! Test support: a cloud in a temporary folder, and a client that signs with AWS's crate.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use glimpse_local::{Cloud, Config, S3Settings};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, RequestBuilder, Response};
use tempfile::TempDir;

const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) type Pairs = Vec<(String, String)>;

pub(crate) struct TestBed {
    pub(crate) cloud: Cloud,
    pub(crate) client: S3Client,
    pub(crate) folder: TempDir,
}

impl TestBed {
    pub(crate) async fn new() -> Self {
        Self::with_config(|_| {}).await
    }

    pub(crate) async fn with_config(configure: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path());
        configure(&mut config);
        let cloud = Cloud::start(config).await.unwrap();
        let client = S3Client::new(&cloud);
        Self { cloud, client, folder }
    }

    /// Stops the cloud and restarts it in the same folder.
    pub(crate) async fn restart(self) -> Self {
        let Self { cloud, folder, .. } = self;
        cloud.stop().await;
        let cloud = Cloud::start(Config::new(folder.path())).await.unwrap();
        let client = S3Client::new(&cloud);
        Self { cloud, client, folder }
    }
}

#[derive(Clone)]
pub(crate) struct S3Client {
    pub(crate) http: Client,
    pub(crate) endpoint: String,
    pub(crate) settings: S3Settings,
}

impl S3Client {
    pub(crate) fn new(cloud: &Cloud) -> Self {
        let http = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, endpoint: cloud.addresses().s3_endpoint.clone(), settings: cloud.settings().clone() }
    }

    pub(crate) fn url(&self, key: &str, query: &[(&str, &str)]) -> String {
        let key = utf8_percent_encode(key, PATH);
        let mut url = format!("{}/{}/{key}", self.endpoint, self.settings.bucket);
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.extend(utf8_percent_encode(name, QUERY));
            url.push('=');
            url.extend(utf8_percent_encode(value, QUERY));
        }
        url
    }

    fn parts(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        body: SignableBody<'_>,
        presigned_for: Option<Duration>,
    ) -> (Pairs, Pairs) {
        let identity = Credentials::new(
            &self.settings.access_key_id,
            &self.settings.secret_access_key,
            None,
            None,
            "test",
        )
        .into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = aws_sigv4::http_request::PayloadChecksumKind::XAmzSha256;
        if presigned_for.is_some() {
            settings.signature_location = SignatureLocation::QueryParams;
            settings.expires_in = presigned_for;
            settings.payload_checksum_kind = aws_sigv4::http_request::PayloadChecksumKind::NoHeader;
        }
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.settings.region)
            .name("s3")
            .time(now())
            .settings(settings)
            .build()
            .unwrap();
        let request = SignableRequest::new(method.as_str(), url, headers.iter().copied(), body).unwrap();
        let (instructions, _) = sign(request, &params.into()).unwrap().into_parts();
        let headers = instructions.headers().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let query = instructions.params().iter().map(|(n, v)| ((*n).to_owned(), v.to_string())).collect();
        (headers, query)
    }

    pub(crate) fn request(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> RequestBuilder {
        let url = self.url(key, query);
        let (signed, _) = self.parts(&method, &url, headers, SignableBody::Bytes(&body), None);
        let mut request = self.http.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        request
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        key: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.request(method, key, &[], headers, body.to_vec()).send().await.unwrap()
    }

    pub(crate) async fn query(
        &self,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.request(method, key, query, &[], body.to_vec()).send().await.unwrap()
    }

    pub(crate) async fn put(&self, key: &str, body: &[u8]) -> Response {
        self.send(Method::PUT, key, &[], body).await
    }

    pub(crate) async fn get(&self, key: &str, headers: &[(&str, &str)]) -> Response {
        self.send(Method::GET, key, headers, b"").await
    }

    /// A presigned URL with those signed headers.
    pub(crate) fn presign(
        &self,
        method: &Method,
        key: &str,
        headers: &[(&str, &str)],
        expires: Duration,
    ) -> String {
        let mut url = self.url(key, &[]);
        let (_, query) = self.parts(method, &url, headers, SignableBody::UnsignedPayload, Some(expires));
        for (index, (name, value)) in query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.extend([name.as_str(), "="]);
            url.extend(utf8_percent_encode(value, QUERY));
        }
        url
    }
}

/// The headers with which AWS's crate signs a request to a service, without those of S3.
pub(crate) fn signed_headers<'a>(
    bed: &TestBed,
    (method, url, service): (&'a str, &'a str, &str),
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    secret: &str,
    body: &'a [u8],
) -> Pairs {
    let settings = &bed.client.settings;
    let identity = Credentials::new(&settings.access_key_id, secret, None, None, "test").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&settings.region)
        .name(service)
        .time(now())
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let request = SignableRequest::new(method, url, headers, SignableBody::Bytes(body)).unwrap();
    let (instructions, _) = sign(request, &params.into()).unwrap().into_parts();
    instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The wall clock: s3s reads the system clock, so signatures need the current time.
#[expect(clippy::disallowed_methods, reason = "a test is where time enters")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The text between the first two tags of this name.
pub(crate) fn xml_text(xml: &str, name: &str) -> String {
    xml_texts(xml, name).into_iter().next().unwrap_or_else(|| panic!("no <{name}> in {xml}"))
}

/// The texts of all elements of this name, in order.
pub(crate) fn xml_texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let unescape = |text: &str| {
        text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    };
    xml.split(&open)
        .skip(1)
        .filter_map(|rest| rest.split_once(&close))
        .map(|(text, _)| unescape(text))
        .collect()
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

#[track_caller]
pub(crate) fn assert_status(response: &Response, status: u16) {
    assert_eq!(response.status().as_u16(), status, "{} {:?}", response.url(), response.headers());
}

/// The status, and S3's error code.
pub(crate) async fn s3_error(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, xml_texts(&text, "Code").into_iter().next().unwrap_or(text))
}

/// Polls until the function returns a value, for ten seconds.
pub(crate) async fn wait_for<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
