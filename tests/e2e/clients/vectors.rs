//! Vectors of canonical URLs, signed URLs and delivery tokens: computed by the service's code, and compared with those
//! in the JavaScript package, whose tests compute the same (`clients/js/tests/vectors.test.mjs`).
//!
//! `GLIMPSE_WRITE_VECTORS=1 cargo test --package e2e -- client_vectors` writes them.

use std::fs;

use e2e::env_path;
use glimpse_contract::{OutputFormat, PARAMETERS, ParameterType, VariantKind, VariantRequest, VideoId};
use glimpse_edge::auth::{DeliveryKeys, Secret};
use glimpse_edge::delivery::signed_url::signed_path;
use glimpse_edge::delivery::token_request;
use serde_json::{Value, json};

const PATH: &str = "clients/js/tests/vectors.json";
const ORIGIN: &str = "https://video.example.com";
const KEY_ID: &str = "2026";
const SECRET: &str = "a delivery token secret of the vectors only";
/// The expiry of all signatures, in Unix seconds.
const EXPIRES_SECS: u64 = 1_800_000_000;
/// The number of random vectors.
const COUNT: usize = 600;

/// A small generator (xorshift64*): the vectors are the same in every run.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn is_one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// A value of the type as JSON, usually in its range.
    fn value(&mut self, value_type: ParameterType) -> String {
        match value_type {
            // Up to five decimals, of which the service keeps three.
            ParameterType::Seconds { max_ms } => {
                let limit = if self.is_one_in(8) { max_ms + 2 } else { 12_000 };
                let ms = self.below(limit);
                match self.below(4) {
                    0 => (ms / 1000).to_string(),
                    1 => format!("{}.{:03}", ms / 1000, ms % 1000),
                    2 => format!("{}.{:03}5", ms / 1000, ms % 1000),
                    _ => format!("{}.{:03}{:02}", ms / 1000, ms % 1000, self.below(100)),
                }
            }
            ParameterType::Integer { min, max, .. } => match self.below(24) {
                0 => min.to_string(),
                1 => max.to_string(),
                2 => (max + 1).to_string(),
                3 => min.saturating_sub(1).to_string(),
                // The defaults, and sides of which one is twice the other.
                4 => "15".to_owned(),
                5 => "81".to_owned(),
                6 => "320".to_owned(),
                7 => "640".to_owned(),
                8 => "1280".to_owned(),
                _ => (min + self.below(max - min + 1)).to_string(),
            },
            ParameterType::Hundredths { min, max } => {
                let hundredths = min + self.below(max - min + 1);
                format!("{}.{:02}", hundredths / 100, hundredths % 100)
            }
            ParameterType::Words { words, .. } => {
                let (word, _) = words[self.below(words.len() as u64) as usize];
                let is_bare =
                    word.bytes().all(|byte| byte.is_ascii_digit()) || matches!(word, "true" | "false");
                if is_bare { word.to_owned() } else { format!("\"{word}\"") }
            }
        }
    }
}

/// One request for an image, before the service has parsed it.
struct Case {
    kind: VariantKind,
    format: OutputFormat,
    /// Names and JSON values, in the order of the request.
    parameters: Vec<(String, String)>,
    /// The format of the sheet that a table references.
    sheet: Option<&'static str>,
    revision: Option<&'static str>,
}

impl Case {
    fn random(random: &mut XorShift) -> Self {
        let kinds =
            [VariantKind::Thumbnail, VariantKind::Animation, VariantKind::Storyboard, VariantKind::Clip];
        let kind = kinds[random.below(4) as usize];
        let formats = kind.formats();
        let format = formats[random.below(formats.len() as u64) as usize];
        let mut parameters = Vec::new();
        for parameter in PARAMETERS.iter().filter(|parameter| parameter.kind == kind) {
            if random.is_one_in(2) {
                parameters.push((parameter.name.to_owned(), random.value(parameter.value)));
            }
        }
        if random.is_one_in(100) {
            parameters.push(("zoom".to_owned(), "2".to_owned()));
        }
        // Any order.
        for last in (1..parameters.len()).rev() {
            parameters.swap(last, random.below(last as u64 + 1) as usize);
        }
        let sheet = ["jpg", "webp"][random.below(2) as usize];
        Self {
            kind,
            format,
            parameters,
            sheet: (format.is_table() && random.is_one_in(3)).then_some(sheet),
            revision: random.is_one_in(4).then_some("0a1b2c3d"),
        }
    }

    fn query(&self) -> String {
        let unquoted = |value: &str| value.trim_matches('"').to_owned();
        let mut pairs: Vec<String> =
            self.parameters.iter().map(|(name, value)| format!("{name}={}", unquoted(value))).collect();
        pairs.extend(self.sheet.map(|sheet| format!("format={sheet}")));
        pairs.extend(self.revision.map(|revision| format!("v={revision}")));
        pairs.join("&")
    }

    /// The members of the vector, which are its input and the service's results.
    fn to_json(&self, video: VideoId, keys: &DeliveryKeys) -> Value {
        let parameters: Vec<Value> = self
            .parameters
            .iter()
            .map(|(name, value)| json!([name, serde_json::from_str::<Value>(value).unwrap()]))
            .collect();
        let mut vector = json!({
            "kind": self.kind.as_str(),
            "format": self.format.extension(),
            "parameters": parameters,
            "sheet": self.sheet,
            "v": self.revision,
        });
        let file = format!("{}.{}", self.kind.as_str(), self.format.extension());
        let (path, query) = (format!("/{video}/{file}"), self.query());
        let results = match VariantRequest::parse(&path, Some(&query)).unwrap() {
            Err(wrong) => json!({ "wrong": wrong.name }),
            Ok(request) => json!({
                "sent": format!("{path}?{query}"),
                "path": request.canonical(),
                "signed": keys.sign_url(&signed_path(&request), EXPIRES_SECS),
                "token": self.token(video, keys),
            }),
        };
        let vector = vector.as_object_mut().unwrap();
        vector.extend(results.as_object().unwrap().clone());
        vector.retain(|_, value| !value.is_null());
        Value::from(vector.clone())
    }

    /// The token that the API returns for these parameters; `None` if they are not valid for every format.
    fn token(&self, video: VideoId, keys: &DeliveryKeys) -> Option<Value> {
        // As texts, which the service parses like those of a URL.
        let pairs: Vec<_> = self
            .parameters
            .iter()
            .map(|(name, value)| format!("\"{name}\":\"{}\"", value.trim_matches('"')))
            .collect();
        let body = format!(
            "{{\"types\":[\"{}\"],\"parameters\":{{{}}},\"expires_in\":3600}}",
            self.kind.as_str(),
            pairs.join(",")
        );
        let request = token_request::parse(body.as_bytes()).unwrap();
        let now_ms = (EXPIRES_SECS - 3600) * 1000;
        let answer = token_request::issue_tokens(&request, video, keys, ORIGIN, now_ms).ok()?;
        Some(serde_json::to_value(answer).unwrap()["tokens"][0]["token"].clone())
    }
}

fn vectors() -> String {
    let keys = DeliveryKeys {
        secrets: vec![(KEY_ID.into(), Secret::new(SECRET.as_bytes().to_vec()))],
        public: Vec::new(),
    };
    let video = VideoId::new(1_700_000_000_000, *b"glimpse-js");
    let mut random = XorShift(0x0018_c11e_4715);
    let lines: Vec<String> =
        (0..COUNT).map(|_| Case::random(&mut random).to_json(video, &keys).to_string()).collect();
    let settings = json!({
        "origin": ORIGIN, "video": video.to_string(), "kid": KEY_ID, "secret": SECRET, "expires": EXPIRES_SECS,
    });
    format!("{{\"settings\":{settings},\n\"vectors\":[\n{}\n]}}\n", lines.join(",\n"))
}

#[test]
fn client_vectors_equal_those_of_the_service() {
    let path = env_path("GLIMPSE_ROOT").join(PATH);
    let vectors = vectors();
    if std::env::var_os("GLIMPSE_WRITE_VECTORS").is_some() {
        fs::write(&path, &vectors).unwrap();
    }
    let stored = fs::read_to_string(&path).unwrap();
    assert!(stored == vectors, "{PATH} is not up to date: see the first lines of this file");
    let wrong = vectors.matches("\"wrong\"").count();
    assert!(wrong > COUNT / 20 && wrong < COUNT / 2, "{wrong} of {COUNT} are rejected");
}
