//! Configuration of a deployment: parses and validates all variables at once. Pure: the lookup is an argument.

use std::fmt;

use glimpse_contract::{OutputFormat, Visibility, limits};
use thiserror::Error;

use crate::auth::{DeliveryKeys, JwtIssuer, JwtKeys, Oidc, Secret, UploadKeys, parse_jwks};
use crate::delivery::parse_formats;
use crate::s3::sigv4::{Credentials, S3Bucket};

/// The largest body that Cloudflare passes to a Worker on its Free and Pro plans, in bytes,
/// <https://developers.cloudflare.com/workers/platform/limits/#request-limits>.
const MAX_BODY_BYTES: u64 = 100_000_000;
/// The default daily limit of new images of one video for anonymous callers.
const PUBLIC_VARIANTS_PER_DAY: u64 = 200;
/// The maximum of this limit: the number of objects that are listed to count them.
const MAX_PUBLIC_VARIANTS_PER_DAY: u64 = 4_000;
/// At least 256 random bits, RFC 7518 section 3.2.
const MIN_SECRET_BYTES: usize = 32;

/// The validated configuration of a deployment.
#[derive(Debug, Clone)]
pub struct Config {
    /// The origin under which browsers reach this Worker, without a trailing slash.
    pub public_url: String,
    /// The location of the bucket.
    pub bucket: S3Bucket,
    /// The credentials for the bucket.
    pub credentials: Credentials,
    /// The function URL of the `render` Lambda without a trailing slash, if images are rendered on demand. The function
    /// is in the bucket's region, and the bucket's credentials may call it.
    pub render_url: Option<String>,
    /// Authentication of API clients, if configured.
    pub jwt_issuer: Option<JwtIssuer>,
    /// Browser sign-in, if configured.
    pub oidc: Option<Oidc>,
    /// Other origins whose pages may call the API.
    pub allowed_origins: Vec<String>,
    /// The widths in pixels in which all callers may have images rendered; any width if it is empty.
    pub public_widths: Vec<u32>,
    /// The formats of thumbnails whose URL has no extension, by preference.
    pub negotiated_formats: Vec<OutputFormat>,
    /// The images that anonymous callers may request.
    pub public_variants: PublicVariants,
    /// The daily limit of new images of one video that are rendered for anonymous callers.
    pub public_variants_per_day: u64,
    /// The secrets of upload tokens; without one, upload tokens are not available.
    pub upload_keys: UploadKeys,
    /// The keys of delivery tokens; without one, delivery tokens are not available.
    pub delivery_keys: DeliveryKeys,
    /// The default visibility of a video's images.
    pub visibility: Visibility,
    /// Who may play and download uploaded files, beside their owners.
    pub playback: Playback,
    /// The maximum size of one video in bytes.
    pub max_upload_bytes: u64,
    /// The maximum body of a request through this Worker in bytes, by the limit of the network before it.
    pub max_body_bytes: u64,
    /// The lifetime of a signed upload, in seconds.
    pub upload_expires_secs: u64,
    /// Whether the storage supports POST policies. Without them (Cloudflare R2), whole files are uploaded by signed
    /// PUTs, whose length must be declared in advance.
    pub allows_post_policy: bool,
}

/// The images that anonymous callers may request. The owner and the bearer of a token for the image may request any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicVariants {
    /// Any image, in the widths of `PUBLIC_WIDTHS` if there are some.
    Any,
    /// The widths of `PUBLIC_WIDTHS`, with all other parameters at their defaults.
    Listed,
    /// The default images only.
    None,
}

/// Who may play and download an uploaded file, beside the owner of its video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Playback {
    /// No other caller.
    Owner,
    /// The bearer of a token for the file.
    Token,
    /// The bearer of a token; for a public video, everyone.
    Public,
}

/// Every missing or invalid variable, each with its requirement.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// A missing or invalid variable. The value is not part of the message: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The variable's name.
    pub name: &'static str,
    /// Its requirement.
    pub requirement: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.requirement)
    }
}

impl Config {
    /// Reads and validates all variables.
    ///
    /// # Errors
    /// All missing and invalid variables, in one error.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = ConfigReader { lookup, errors: Vec::new() };

        let public_url =
            reader.require("PUBLIC_URL", "must be this Worker's origin, such as https://video.example");
        reader.check(
            "PUBLIC_URL",
            &public_url,
            is_origin,
            "must be an origin such as https://video.example, without a path",
        );

        let bucket_name = reader.require("S3_BUCKET", "must be the name of the bucket");
        let region = reader.require("S3_REGION", "must be the bucket's region, such as eu-central-1");
        let bucket = match reader.get("S3_ENDPOINT") {
            Some(endpoint) => {
                reader.check(
                    "S3_ENDPOINT",
                    &endpoint,
                    is_origin,
                    "must be an origin such as https://s3.example",
                );
                S3Bucket::path_style(&endpoint, &bucket_name, &region)
            }
            None => S3Bucket::virtual_hosted(&bucket_name, &region),
        };
        let credentials = Credentials {
            access_key_id: reader
                .require("S3_ACCESS_KEY_ID", "must be an access key of the bucket's account"),
            secret_access_key: reader.require("S3_SECRET_ACCESS_KEY", "must be that access key's secret"),
            session_token: reader.get("S3_SESSION_TOKEN"),
        };

        let render_url = reader.get("RENDER_URL").map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = &render_url
            && !(is_origin(url) && is_safe_url(url))
        {
            reader.push_error("RENDER_URL", "must be the https URL of the render function, without a path");
        }

        let jwt_issuer = reader.jwt_issuer();
        let oidc = reader.oidc();
        if jwt_issuer.is_none() && oidc.is_none() && reader.errors.is_empty() {
            reader.push_error("JWT_ISSUER", "or OIDC_ISSUER must be set: otherwise no caller can sign in");
        }

        let allowed_origins = reader.allowed_origins();
        let max_upload_bytes = reader.number(
            "MAX_UPLOAD_BYTES",
            limits::MAX_SINGLE_UPLOAD_BYTES,
            1..=limits::MAX_MULTIPART_UPLOAD_BYTES,
            "must be a number of bytes from 1 to 5497558138880",
        );
        let max_body_bytes = reader.number(
            "MAX_BODY_BYTES",
            MAX_BODY_BYTES,
            1..=limits::MAX_SINGLE_UPLOAD_BYTES,
            "must be a number of bytes from 1 to 5368709120",
        );
        let upload_expires_secs = reader.number(
            "UPLOAD_EXPIRES_SECS",
            limits::UPLOAD_EXPIRES_SECS,
            60..=limits::MAX_UPLOAD_EXPIRES_SECS,
            "must be a number of seconds from 60 to 3600",
        );

        let upload_keys = UploadKeys(reader.secrets("UPLOAD_TOKEN_SECRETS"));
        let delivery_keys = reader.delivery_keys();
        let visibility = reader.visibility();
        let playback = reader.playback();
        let allows_post_policy = reader.post_policy();
        let public_widths = reader.public_widths();
        let negotiated_formats = reader.negotiated_formats();
        let public_variants = reader.public_variants();
        let public_variants_per_day = reader.public_variants_per_day();
        if !reader.errors.is_empty() {
            return Err(ConfigErrors(reader.errors));
        }
        Ok(Self {
            public_url,
            bucket,
            credentials,
            render_url,
            jwt_issuer,
            oidc,
            allowed_origins,
            public_widths,
            negotiated_formats,
            public_variants,
            public_variants_per_day,
            upload_keys,
            delivery_keys,
            visibility,
            playback,
            max_upload_bytes,
            max_body_bytes,
            upload_expires_secs,
            allows_post_policy,
        })
    }

    /// Whether browsers reach this deployment over TLS; only development machines lack it.
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }

    /// Whether pages of that origin may call the API: this Worker's own origin, and the configured ones.
    pub fn allows_origin(&self, origin: &str) -> bool {
        origin == self.public_url || self.allowed_origins.iter().any(|allowed| allowed == origin)
    }
}

struct ConfigReader<F> {
    lookup: F,
    errors: Vec<ConfigError>,
}

impl<F: Fn(&str) -> Option<String>> ConfigReader<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn push_error(&mut self, name: &'static str, requirement: &'static str) {
        self.errors.push(ConfigError { name, requirement });
    }

    fn require(&mut self, name: &'static str, requirement: &'static str) -> String {
        self.get(name).unwrap_or_else(|| {
            self.push_error(name, requirement);
            String::new()
        })
    }

    fn check(
        &mut self,
        name: &'static str,
        value: &str,
        is_valid: fn(&str) -> bool,
        requirement: &'static str,
    ) {
        if !value.is_empty() && !is_valid(value) {
            self.push_error(name, requirement);
        }
    }

    fn number(
        &mut self,
        name: &'static str,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
        requirement: &'static str,
    ) -> u64 {
        let Some(text) = self.get(name) else { return default };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.push_error(name, requirement);
                default
            }
        }
    }

    fn secret(&mut self, name: &'static str) -> Option<Secret> {
        let text = self.get(name)?;
        if text.len() < MIN_SECRET_BYTES {
            self.push_error(name, "must be at least 32 characters: 256 random bits, RFC 7518 section 3.2");
        }
        Some(Secret::new(text.into_bytes()))
    }

    fn secrets(&mut self, name: &'static str) -> Vec<(String, Secret)> {
        let text = self.get(name).unwrap_or_default();
        let mut keys: Vec<(String, Secret)> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some((id, secret)) if is_key_id(id) && secret.len() >= MIN_SECRET_BYTES => {
                    keys.push((id.to_owned(), Secret::new(secret.as_bytes().to_vec())));
                }
                _ => {
                    self.push_error(
                        name,
                        "must be key=secret pairs, separated by commas: keys of letters, digits, - and _, secrets of at least \
                         32 characters",
                    );
                    break;
                }
            }
        }
        keys
    }

    fn delivery_keys(&mut self) -> DeliveryKeys {
        const NAME: &str = "DELIVERY_TOKEN_JWKS";
        let secrets = self.secrets("DELIVERY_TOKEN_SECRETS");
        let public = self.get(NAME).map_or_else(|| Some(Vec::new()), |text| parse_jwks(&text));
        if public.is_none() {
            self.push_error(
                NAME,
                "must be a JSON Web Key Set of public keys for RS256, ES256 or EdDSA, each with a unique `kid`",
            );
        }
        DeliveryKeys { secrets, public: public.unwrap_or_default() }
    }

    fn visibility(&mut self) -> Visibility {
        let Some(word) = self.get("DEFAULT_VISIBILITY") else { return Visibility::Public };
        word.parse().unwrap_or_else(|_| {
            self.push_error("DEFAULT_VISIBILITY", "must be public or signed");
            Visibility::Signed
        })
    }

    fn allowed_origins(&mut self) -> Vec<String> {
        let mut origins = parse_list(&self.get("ALLOWED_ORIGINS").unwrap_or_default());
        // Browsers send origins in lower case.
        for origin in &mut origins {
            origin.make_ascii_lowercase();
        }
        if !origins.iter().all(|origin| is_origin(origin) || is_app_origin(origin)) {
            self.push_error(
                "ALLOWED_ORIGINS",
                "must be origins such as https://app.example or capacitor://localhost, separated by commas",
            );
        }
        origins
    }

    fn playback(&mut self) -> Playback {
        match self.get("PLAYBACK").as_deref() {
            Some("owner") => Playback::Owner,
            None | Some("token") => Playback::Token,
            Some("public") => Playback::Public,
            Some(_) => {
                self.push_error("PLAYBACK", "must be owner, token or public");
                Playback::Owner
            }
        }
    }

    fn post_policy(&mut self) -> bool {
        match self.get("S3_POST_POLICY").as_deref() {
            None | Some("yes") => true,
            Some("no") => false,
            Some(_) => {
                self.push_error("S3_POST_POLICY", "must be yes, or no for storage without POST policies");
                false
            }
        }
    }

    fn public_widths(&mut self) -> Vec<u32> {
        const NAME: &str = "PUBLIC_WIDTHS";
        let text = self.get(NAME).unwrap_or_default();
        let widths = text.split(',').map(str::trim).filter(|width| !width.is_empty()).map(|width| {
            width.parse().ok().filter(|width| (limits::MIN_SIDE..=limits::MAX_THUMBNAIL_SIDE).contains(width))
        });
        widths.collect::<Option<Vec<u32>>>().unwrap_or_else(|| {
            self.push_error(NAME, "must be numbers of pixels from 8 to 3840, separated by commas");
            Vec::new()
        })
    }

    fn negotiated_formats(&mut self) -> Vec<OutputFormat> {
        parse_formats(self.get("NEGOTIATE").as_deref()).unwrap_or_else(|| {
            self.push_error("NEGOTIATE", "must be jpeg and any of avif and webp, separated by commas");
            Vec::new()
        })
    }

    fn public_variants(&mut self) -> PublicVariants {
        match self.get("PUBLIC_VARIANTS").as_deref() {
            None | Some("any") => PublicVariants::Any,
            Some("listed") => PublicVariants::Listed,
            Some("none") => PublicVariants::None,
            Some(_) => {
                self.push_error("PUBLIC_VARIANTS", "must be any, listed or none");
                PublicVariants::None
            }
        }
    }

    fn public_variants_per_day(&mut self) -> u64 {
        self.number(
            "PUBLIC_VARIANTS_PER_DAY",
            PUBLIC_VARIANTS_PER_DAY,
            0..=MAX_PUBLIC_VARIANTS_PER_DAY,
            "must be a number from 0 to 4000",
        )
    }

    fn jwt_issuer(&mut self) -> Option<JwtIssuer> {
        let Some(issuer) = self.get("JWT_ISSUER") else {
            for name in ["JWT_AUDIENCE", "JWT_SECRET", "JWT_JWKS_URL"] {
                if self.get(name).is_some() {
                    self.push_error("JWT_ISSUER", "must be set, since another JWT_ variable is");
                    break;
                }
            }
            return None;
        };
        let audiences = self.require("JWT_AUDIENCE", "must be the `aud` of tokens for this service");
        let audiences = parse_list(&audiences);
        let secret = self.secret("JWT_SECRET");
        let url = self.get("JWT_JWKS_URL");
        let keys = match (secret, url) {
            (Some(secret), None) => JwtKeys::Secret(secret),
            (None, Some(url)) => {
                self.check("JWT_JWKS_URL", &url, is_safe_url, "must be an https URL");
                JwtKeys::Jwks(url)
            }
            _ => {
                self.push_error("JWT_SECRET", "or JWT_JWKS_URL must be set, and only one of them");
                return None;
            }
        };
        Some(JwtIssuer { issuer, audiences, keys })
    }

    fn oidc(&mut self) -> Option<Oidc> {
        let issuer = self.get("OIDC_ISSUER")?;
        self.check("OIDC_ISSUER", &issuer, is_safe_url, "must be an https URL");
        let client_id = self.require("OIDC_CLIENT_ID", "must be set, since OIDC_ISSUER is");
        let client_secret = self.get("OIDC_CLIENT_SECRET").map(|text| Secret::new(text.into_bytes()));
        let Some(session_secret) = self.secret("SESSION_SECRET") else {
            self.push_error(
                "SESSION_SECRET",
                "must be set, since OIDC_ISSUER is: at least 32 random characters",
            );
            return None;
        };
        Some(Oidc { issuer, client_id, client_secret, session_secret })
    }
}

fn is_key_id(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The items of a comma-separated list.
fn parse_list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The origin of an app that serves its pages with a custom scheme: `capacitor://localhost`, `tauri://localhost`,
/// `app://.`. Pages of other schemes have the origin `null`, which any page can have.
fn is_app_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| {
        let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let is_host = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte));
        let web_schemes =
            ["http", "https", "ws", "wss", "ftp", "file", "data", "blob", "javascript", "about"];
        is_scheme && is_host && !web_schemes.contains(&scheme)
    })
}

/// Whether this is a scheme and an authority, and nothing else.
fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        matches!(scheme, "http" | "https")
            && !rest.is_empty()
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    })
}

/// Whether this is a URL with TLS, or of a development machine's loopback. The authority is a host and an optional
/// port: user information, backslashes and other texts in which parsers disagree about the host are rejected.
pub(crate) fn is_safe_url(text: &str) -> bool {
    let Some((scheme @ ("https" | "http"), rest)) = text.split_once("://") else { return false };
    let is_visible = |byte: u8| byte.is_ascii_graphic() && byte != b'\\' && byte != b'#';
    let authority = rest.split('/').next().unwrap_or_default();
    let Some(host) = parse_host(authority) else { return false };
    rest.bytes().all(is_visible) && (scheme == "https" || matches!(host, "localhost" | "127.0.0.1"))
}

/// The host of an authority: a host name, an IPv4 address or an IPv6 address in brackets, with or without a port.
fn parse_host(authority: &str) -> Option<&str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, remainder) = rest.split_once(']')?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (address, if remainder.is_empty() { None } else { Some(remainder.strip_prefix(':')?) })
    } else {
        let (host, port) =
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let is_valid = host.bytes().all(is_host) && !host.starts_with(['.', '-']) && !host.contains("..");
        (Some(host).filter(|host| is_valid && !host.is_empty())?, port)
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    port.is_none_or(is_port).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{example_config_with, parse_example_config as parse};

    #[test]
    fn parses_valid_config() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.bucket.bucket_url(), "https://clips.s3.eu-central-1.amazonaws.com/");
        assert!(
            config.allows_origin("https://other.example") && config.allows_origin("https://video.example")
        );
        assert!(!config.allows_origin("null") && !config.allows_origin("https://app.example.evil.example"));
        let app_origins = "capacitor://localhost, ionic://localhost,tauri://localhost,app://.,app://,chrome-extension://abc";
        let config =
            example_config_with(&[("ALLOWED_ORIGINS", &format!("{app_origins},HTTPS://App.Example"))]);
        for origin in app_origins.split(',').chain(["https://app.example"]) {
            assert!(config.allows_origin(origin.trim()), "{origin}");
        }
        assert!(!config.allows_origin("capacitor://evil") && !config.allows_origin("http://localhost"));
        let audiences = example_config_with(&[("JWT_AUDIENCE", "glimpse, https://app.example")])
            .jwt_issuer
            .unwrap()
            .audiences;
        assert_eq!(audiences, ["glimpse", "https://app.example"]);
        assert_eq!(config.max_upload_bytes, limits::MAX_SINGLE_UPLOAD_BYTES);
        assert!(config.public_widths.is_empty());
        assert_eq!(config.negotiated_formats, [OutputFormat::Webp, OutputFormat::Jpg]);
        assert_eq!((config.public_variants, config.public_variants_per_day), (PublicVariants::Any, 200));
        assert_eq!(
            example_config_with(&[("PUBLIC_VARIANTS", "listed")]).public_variants,
            PublicVariants::Listed
        );
        assert_eq!(example_config_with(&[("PUBLIC_WIDTHS", "320, 640,")]).public_widths, [320, 640]);
    }

    #[test]
    fn error_names_each_invalid_value() {
        for (name, value) in [
            ("PUBLIC_URL", "video.example"),
            ("PUBLIC_URL", "https://video.example/"),
            ("S3_BUCKET", ""),
            ("S3_ENDPOINT", "127.0.0.1:9000"),
            ("JWT_SECRET", "short"),
            ("JWT_JWKS_URL", "https://id.example/jwks"),
            ("OIDC_ISSUER", "http://id.example"),
            ("SESSION_SECRET", ""),
            ("SESSION_SECRET", "short"),
            ("ALLOWED_ORIGINS", "https://app.example,*"),
            ("ALLOWED_ORIGINS", "null"),
            ("ALLOWED_ORIGINS", "file://"),
            ("ALLOWED_ORIGINS", "capacitor://*"),
            ("ALLOWED_ORIGINS", "capacitor://localhost/"),
            ("ALLOWED_ORIGINS", "https://"),
            ("ALLOWED_ORIGINS", "1app://localhost"),
            ("JWT_AUDIENCE", ""),
            ("RENDER_URL", "https://abc.lambda-url.eu-central-1.on.aws/render"),
            ("RENDER_URL", "http://abc.lambda-url.eu-central-1.on.aws"),
            ("RENDER_URL", "abc.lambda-url.eu-central-1.on.aws"),
            ("MAX_UPLOAD_BYTES", "5497558138881"),
            ("MAX_BODY_BYTES", "0"),
            ("UPLOAD_TOKEN_SECRETS", "a=short"),
            ("DELIVERY_TOKEN_SECRETS", "a=short"),
            ("DELIVERY_TOKEN_JWKS", "{"),
            ("DELIVERY_TOKEN_JWKS", r#"{"keys":[]}"#),
            ("DELIVERY_TOKEN_JWKS", r#"{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}"#),
            ("DELIVERY_TOKEN_JWKS", r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#),
            ("DEFAULT_VISIBILITY", "private"),
            ("PLAYBACK", "everyone"),
            ("PLAYBACK", "Public"),
            ("UPLOAD_TOKEN_SECRETS", "0123456789abcdef0123456789abcdef"),
            ("UPLOAD_TOKEN_SECRETS", "a b=0123456789abcdef0123456789abcdef"),
            ("UPLOAD_EXPIRES_SECS", "1h"),
            ("UPLOAD_EXPIRES_SECS", "3601"),
            ("S3_POST_POLICY", "false"),
            ("NEGOTIATE", "avif,webp"),
            ("NEGOTIATE", "jpeg,gif"),
            ("PUBLIC_WIDTHS", "320,wide"),
            ("PUBLIC_WIDTHS", "320,7"),
            ("PUBLIC_WIDTHS", "3841"),
            ("PUBLIC_VARIANTS", "all"),
            ("PUBLIC_VARIANTS_PER_DAY", "4001"),
            ("PUBLIC_VARIANTS_PER_DAY", "-1"),
        ] {
            let errors = parse(&[(name, value)]).expect_err(name);
            let expected = if name == "JWT_JWKS_URL" { "JWT_SECRET" } else { name };
            assert!(errors.0.iter().any(|error| error.name == expected), "{name}={value}: {errors}");
            assert_eq!(errors.0.len(), 1, "{name}={value}: {errors}");
        }
    }

    #[test]
    fn playback_is_token_by_default() {
        for (value, expected) in [
            ("", Playback::Token),
            ("token", Playback::Token),
            ("owner", Playback::Owner),
            ("public", Playback::Public),
        ] {
            assert_eq!(example_config_with(&[("PLAYBACK", value)]).playback, expected, "{value}");
        }
    }

    #[test]
    fn render_url_is_optional() {
        assert_eq!(parse(&[]).unwrap().render_url, None);
        let url = "https://abc.lambda-url.eu-central-1.on.aws";
        for spelling in [url.to_owned(), format!("{url}/")] {
            assert_eq!(parse(&[("RENDER_URL", &spelling)]).unwrap().render_url.as_deref(), Some(url));
        }
    }

    #[test]
    fn first_upload_key_signs() {
        assert!(parse(&[]).unwrap().upload_keys.0.is_empty());
        let (new, old) = ("n".repeat(32), "o=".repeat(16));
        let keys =
            parse(&[("UPLOAD_TOKEN_SECRETS", &format!("new={new}, old={old}"))]).unwrap().upload_keys.0;
        assert_eq!((keys[0].0.as_str(), keys[1].0.as_str()), ("new", "old"));
        assert_eq!(keys[1].1.expose(), old.as_bytes(), "base64 may end with =");
    }

    #[test]
    fn reports_all_errors_at_once() {
        let errors = Config::from_lookup(|_| None).unwrap_err();
        let names: Vec<_> = errors.0.iter().map(|error| error.name).collect();
        assert_eq!(
            names,
            ["PUBLIC_URL", "S3_BUCKET", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]
        );
    }

    #[test]
    fn requires_one_way_to_sign_in() {
        let errors =
            parse(&[("JWT_ISSUER", ""), ("JWT_AUDIENCE", ""), ("JWT_SECRET", ""), ("OIDC_ISSUER", "")])
                .unwrap_err();
        assert_eq!(errors.0[0].name, "JWT_ISSUER");
    }

    #[test]
    fn debug_hides_secrets() {
        let text = format!("{:?}", parse(&[]).unwrap());
        for secret in ["hush-hush", "0123456789abcdef", "fedcba9876543210"] {
            assert!(!text.contains(secret), "{text} contains {secret}");
        }
    }

    #[test]
    fn safe_url_is_https_or_loopback() {
        for (url, safe) in [
            ("https://id.example/jwks", true),
            ("http://localhost:9400", true),
            ("http://127.0.0.1:9400/jwks", true),
            ("http://id.example/jwks", false),
            ("http://localhost.evil.example", false),
            ("http://localhost@evil.example", false),
            ("http://localhost:80@evil.example", false),
            ("http://localhost:80@evil.example/", false),
            ("http://127.0.0.1@evil.example", false),
            ("http://127.0.0.1:80:80@evil.example", false),
            ("http://user:password@localhost", false),
            ("https://id.example@evil.example", false),
            ("https://id.example:443@evil.example/jwks", false),
            ("https://evil.example\\@id.example/jwks", false),
            ("http://evil.example\\@localhost", false),
            ("http://localhost\\.evil.example", false),
            ("http://localhost:80.evil.example", false),
            ("http://localhost#@evil.example", false),
            ("http://localhost?@evil.example", false),
            ("http://localhost:", false),
            ("http://localhost:0", false),
            ("http://localhost:65536", false),
            ("http://localhost:+80", false),
            ("http://localhost ", false),
            ("http://local\thost", false),
            ("http://LOCALHOST.", false),
            ("http://[::1]:9400", false),
            ("http://0.0.0.0", false),
            ("http://127.1", false),
            ("https://[2001:db8::1]:8443/jwks", true),
            ("https://[2001:db8::1", false),
            ("https://[evil.example]", false),
            ("https://id.example:8443/jwks?v=1", true),
            ("https:///jwks", false),
            ("https://", false),
            ("https://:443", false),
            ("https://.example", false),
            ("https://id..example", false),
            ("https://id.example%2eevil", false),
            ("HTTPS://id.example", false),
            ("//id.example", false),
            ("file:///etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(is_safe_url(url), safe, "{url}");
        }
    }
}
