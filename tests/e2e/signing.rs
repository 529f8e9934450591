//! Compares Glimpse's signatures with botocore's, for a few hundred generated keys, headers, queries and times.
//!
//! Run by `cargo xtask test`, which sets `GLIMPSE_PYTHON` to a Python with botocore.

use std::io::Write as _;
use std::process::{Command, Stdio};

use glimpse_edge::s3::sigv4::{Credentials, PostPolicy, PresignParams, S3Bucket, presign, sign_post_policy};
use serde_json::{Value, json};

/// A small generator (xorshift64*): the cases are the same in every run, so that a failure can be reproduced.
struct XorShift(u64);

impl XorShift {
    fn next_below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.next_below(from.len())]
    }

    fn text(&mut self, pieces: &[&str], max_pieces: usize) -> String {
        (0..=self.next_below(max_pieces)).map(|_| self.pick(pieces)).collect()
    }
}

/// Inputs that often break signers: spaces, plus, doubled slashes, dots, reserved and non-ASCII characters, escapes.
const PIECES: &[&str] = &[
    "a", "Z", "9", "-", "_", ".", "~", "/", "//", "/../", "/./", " ", "+", "%", "%20", "&", "=", "?", "#",
    ":", "@", "!", "$", "'", "(", ")", "*", ",", ";", "[", "]", "{", "}", "|", "\\", "^", "`", "<", ">",
    "\"", "ü", "é", "e\u{301}", "日本", "🎿", "\u{a0}", "x-amz",
];
const VALUES: &[&str] = &["a", "B", "7", "-", "/", "=", "+", ";", ",", " ", "%", "*", "\"", "~", "."];
const REGIONS: &[&str] = &["us-east-1", "eu-central-1", "ap-southeast-4", "auto"];
const BASES: &[&str] = &[
    "https://clips.s3.eu-central-1.amazonaws.com",
    "http://127.0.0.1:9000/clips",
    "https://s3.example:8443/b",
];

/// One presigned request, with owned parts.
struct SigningCase {
    credentials: Credentials,
    region: String,
    base: String,
    key: String,
    method: String,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
    expires_secs: u64,
    now_ms: u64,
}

fn random_credentials(random: &mut XorShift) -> Credentials {
    Credentials {
        access_key_id: format!("AKID{}", random.next_below(1000)),
        secret_access_key: random.text(&["a", "B", "/", "+", "7", "="], 40),
        session_token: (random.next_below(3) == 0).then(|| random.text(&["t", "/", "+", "=", "9"], 60)),
    }
}

fn random_case(random: &mut XorShift) -> SigningCase {
    let mut headers = Vec::new();
    for name in [
        "content-type",
        "content-length",
        "if-none-match",
        "x-amz-checksum-sha256",
        "x-amz-meta-name",
        "range",
    ] {
        if random.next_below(2) == 0 {
            let value = format!("v{}v", random.text(VALUES, 8));
            headers.push((name.to_owned(), value));
        }
    }
    let mut query = Vec::new();
    for name in ["partNumber", "uploadId", "response-content-type", "prefix", "list-type"] {
        if random.next_below(3) == 0 {
            query.push((name.to_owned(), random.text(PIECES, 6)));
        }
    }
    SigningCase {
        credentials: random_credentials(random),
        region: random.pick(REGIONS).to_owned(),
        base: random.pick(BASES).to_owned(),
        key: format!("k{}", random.text(PIECES, 14)),
        method: random.pick(&["GET", "PUT", "HEAD", "POST", "DELETE"]).to_owned(),
        headers,
        query,
        expires_secs: 1 + random.next_below(604_800) as u64,
        now_ms: 1_400_000_000_000 + random.next_below(1_000_000_000) as u64 * 900,
    }
}

fn sign_with_glimpse(case: &SigningCase) -> String {
    let location = bucket_location(&case.base, &case.region);
    let headers: Vec<(&str, &str)> = case.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let query: Vec<(&str, &str)> = case.query.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let request = PresignParams {
        method: &case.method,
        url: &location.object_url(&case.key),
        query: &query,
        headers: &headers,
        expires_secs: case.expires_secs,
    };
    presign(&request, &case.credentials, &case.region, case.now_ms).expect("the request can be signed")
}

/// The location whose objects have URLs below `base`.
fn bucket_location(base: &str, region: &str) -> S3Bucket {
    let (endpoint, bucket) = base.rsplit_once('/').expect("a base has a slash");
    if bucket.contains('.') {
        let bucket = bucket.split('.').next().expect("a host has a first label");
        S3Bucket::virtual_hosted(bucket, "eu-central-1")
    } else {
        S3Bucket::path_style(endpoint, bucket, region)
    }
}

fn sign_with_botocore(cases: &[Value]) -> Vec<String> {
    let python = std::env::var("GLIMPSE_PYTHON")
        .expect("GLIMPSE_PYTHON must name a Python with botocore: `cargo xtask test` sets it up");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/botocore/sign.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let input = serde_json::to_vec(cases).expect("cases are plain data");
    child.stdin.take().expect("piped").write_all(&input).expect("python reads");
    let output = child.wait_with_output().expect("python ends");
    assert!(output.status.success(), "botocore failed");
    serde_json::from_slice(&output.stdout).expect("sign.py prints a list of results")
}

/// The base of a URL, and its parameters sorted: their order has no meaning.
fn sorted_url_parts(url: &str) -> (&str, Vec<&str>) {
    let (base, query) = url.split_once('?').expect("a presigned URL has a query");
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    (base, pairs)
}

#[test]
fn presigned_urls_match_botocore() {
    let mut random = XorShift(0x9e37_79b9_7f4a_7c15);
    let cases: Vec<SigningCase> = (0..400).map(|_| random_case(&mut random)).collect();
    let requests: Vec<Value> = cases
        .iter()
        .map(|case| {
            json!({
                "kind": "presign", "access_key_id": case.credentials.access_key_id,
                "secret_access_key": case.credentials.secret_access_key, "session_token": case.credentials.session_token,
                "region": case.region, "base": case.base, "key": case.key, "method": case.method,
                "headers": case.headers, "query": case.query, "expires_secs": case.expires_secs, "now_ms": case.now_ms,
            })
        })
        .collect();
    for (case, theirs) in cases.iter().zip(sign_with_botocore(&requests)) {
        assert_eq!(
            sorted_url_parts(&sign_with_glimpse(case)),
            sorted_url_parts(&theirs),
            "key {:?}, headers {:?}",
            case.key,
            case.headers
        );
    }
}

#[test]
fn policy_signatures_match_botocore() {
    let mut random = XorShift(0x2545_f491_4f6c_dd1d);
    let mut requests = Vec::new();
    let mut signatures = Vec::new();
    for _ in 0..200 {
        let credentials = random_credentials(&mut random);
        let region = random.pick(REGIONS);
        let now_ms = 1_400_000_000_000 + random.next_below(1_000_000_000) as u64 * 900;
        let policy = PostPolicy {
            key: random.text(PIECES, 10),
            fields: vec![("x-amz-meta-name".to_owned(), random.text(PIECES, 10))],
            length_range: (1, 1 + random.next_below(1 << 30) as u64),
            expires_secs: 900,
        };
        let location = S3Bucket::path_style("http://127.0.0.1:9000", "clips", region);
        let form = sign_post_policy(&policy, &location, &credentials, now_ms);
        let field = |name: &str| {
            form.fields
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.clone())
                .expect("a field")
        };
        requests.push(json!({
            "kind": "policy", "access_key_id": credentials.access_key_id,
            "secret_access_key": credentials.secret_access_key, "session_token": credentials.session_token,
            "region": region, "base": "http://127.0.0.1:9000/clips", "policy": field("Policy"), "now_ms": now_ms,
        }));
        signatures.push(field("X-Amz-Signature"));
    }
    assert_eq!(signatures, sign_with_botocore(&requests));
}
