//! Parsers of the backend's records from [`Json`]. Their results equal those of serde's derived implementations, which
//! need four times the code size.

use super::{
    Attempt, ClientMetadata, Failure, Manifest, Output, Poster, ReadStats, Rejection, Source, State, Timings,
    Visibility,
};
use crate::json::Json;
use crate::problem::Code;

fn str_or_default(json: &Json, name: &str) -> String {
    json.get(name).as_str().unwrap_or_default().to_owned()
}

fn u64_or_zero(json: &Json, name: &str) -> u64 {
    json.get(name).as_u64().unwrap_or(0)
}

fn u32_or_zero(json: &Json, name: &str) -> u32 {
    u32::try_from(u64_or_zero(json, name)).unwrap_or(0)
}

impl ClientMetadata {
    /// Reads client metadata from the members of a document.
    pub fn from_json(json: &Json) -> Self {
        Self {
            external_id: json.get("external_id").as_str().map(str::to_owned),
            metadata: json.get("metadata").as_str_map().unwrap_or_default(),
            trace_id: json.get("trace_id").as_str().and_then(|text| text.parse().ok()),
        }
    }

    /// Adds client metadata to the members of a document.
    pub fn insert_into(&self, json: &mut Json) {
        if let Some(id) = &self.external_id {
            json.put("external_id", id.into());
        }
        if !self.metadata.is_empty() {
            json.put("metadata", (&self.metadata).into());
        }
        if let Some(trace) = self.trace_id {
            json.put("trace_id", trace.into());
        }
    }
}

impl Source {
    fn from_json(json: &Json) -> Self {
        Self {
            etag: str_or_default(json, "etag"),
            bytes: u64_or_zero(json, "bytes"),
            content_type: str_or_default(json, "content_type"),
            name: str_or_default(json, "name"),
            container: str_or_default(json, "container"),
            codec: str_or_default(json, "codec"),
            width: u32_or_zero(json, "width"),
            height: u32_or_zero(json, "height"),
            duration_ms: u64_or_zero(json, "duration_ms"),
            fps: match json.get("fps") {
                Json::Float(fps) => *fps,
                other => other.as_u64().unwrap_or(0) as f64,
            },
            rotation: u32_or_zero(json, "rotation"),
            hdr: *json.get("hdr") == Json::Bool(true),
            has_audio: *json.get("has_audio") == Json::Bool(true),
        }
    }
}

impl Output {
    /// Reads one output of a manifest.
    pub fn from_json(json: &Json) -> Self {
        Self {
            variant: str_or_default(json, "variant"),
            bytes: u64_or_zero(json, "bytes"),
            content_type: str_or_default(json, "content_type"),
            etag: str_or_default(json, "etag"),
            width: u32_or_zero(json, "width"),
            height: u32_or_zero(json, "height"),
        }
    }
}

impl Manifest {
    /// Reads a manifest; `None` if a required member is missing or invalid.
    pub fn from_json(json: &Json) -> Option<Self> {
        let rejected = json.get("rejected");
        let (timings, reads) = (json.get("timings"), json.get("reads"));
        let optional = |name| json.get(name).as_str().map(str::to_owned);
        Some(Self {
            version: u32_or_zero(json, "version"),
            video: json.get("video").as_str()?.parse().ok()?,
            owner: json.get("owner").as_str()?.parse().ok()?,
            visibility: match json.get("visibility") {
                Json::Null => Visibility::default(),
                word => Visibility::parse_lenient(word.as_str()?),
            },
            client_metadata: ClientMetadata::from_json(json),
            state: match json.get("state").as_str()? {
                "ready" => State::Ready,
                "rejected" => State::Rejected,
                _ => return None,
            },
            rejected: rejected.is_object().then(|| Rejection { code: Code::from_json(rejected.get("code")) }),
            source: Source::from_json(json.get("source")),
            outputs: json
                .get("outputs")
                .as_array()
                .unwrap_or_default()
                .iter()
                .map(Output::from_json)
                .collect(),
            thumbhash: optional("thumbhash"),
            dominant_color: optional("dominant_color"),
            poster_ms: json.get("poster_ms").as_u64(),
            timings: Timings {
                received: u64_or_zero(timings, "received"),
                probed: u64_or_zero(timings, "probed"),
                rendered: u64_or_zero(timings, "rendered"),
                committed: u64_or_zero(timings, "committed"),
            },
            reads: ReadStats {
                requests: u64_or_zero(reads, "requests"),
                bytes: u64_or_zero(reads, "bytes"),
                round_trips: u64_or_zero(reads, "round_trips"),
            },
        })
    }
}

impl Poster {
    /// Reads a poster choice; `None` if a required member is missing or invalid.
    pub fn from_json(json: &Json) -> Option<Self> {
        Some(Self {
            version: u32_or_zero(json, "version"),
            video: json.get("video").as_str()?.parse().ok()?,
            time_ms: json.get("time_ms").as_u64(),
            revision: u64_or_zero(json, "revision"),
            outputs: json.get("outputs").as_array()?.iter().map(Output::from_json).collect(),
            thumbhash: str_or_default(json, "thumbhash"),
            dominant_color: str_or_default(json, "dominant_color"),
            chosen_at: u64_or_zero(json, "chosen_at"),
        })
    }
}

impl Failure {
    /// Reads a failure record; `None` if a required member is missing or invalid.
    pub fn from_json(json: &Json) -> Option<Self> {
        Some(Self {
            version: u32_or_zero(json, "version"),
            video: json.get("video").as_str()?.parse().ok()?,
            owner: json.get("owner").as_str()?.parse().ok()?,
            code: Code::from_json(json.get("code")),
            failed_at: u64_or_zero(json, "failed_at"),
            client_metadata: ClientMetadata::from_json(json),
        })
    }
}

impl Attempt {
    /// Reads the member `attempt` of a failure record; `None` if it does not exist.
    pub fn from_failure_json(json: &Json) -> Option<Self> {
        let json = json.get("attempt");
        Some(Self {
            message: json.get("message").as_str()?.to_owned(),
            number: u32_or_zero(json, "number"),
            started_at: u64_or_zero(json, "started_at"),
            lease_expires_at: u64_or_zero(json, "lease_expires_at"),
            ends_at: u64_or_zero(json, "ends_at"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;
    use crate::id::{Owner, VideoId};
    use crate::trace::TraceId;

    fn to_json(value: &impl Serialize) -> Json {
        Json::parse(&serde_json::to_vec(value).unwrap()).unwrap()
    }

    fn manifest(number: u32, text: &str, flag: bool, code: Code) -> Manifest {
        let big = u64::from(number) * 1_000_003;
        Manifest {
            version: number,
            video: VideoId::new(big, [number as u8; 10]),
            owner: Owner::new(text, "s"),
            visibility: if flag { Visibility::Signed } else { Visibility::Public },
            client_metadata: client_metadata(text, flag),
            state: if flag { State::Rejected } else { State::Ready },
            rejected: flag.then_some(Rejection { code }),
            source: Source {
                etag: text.into(),
                bytes: big,
                content_type: "a".into(),
                name: text.into(),
                container: "b".into(),
                codec: "c".into(),
                width: number,
                height: number / 2,
                duration_ms: big + 1,
                fps: f64::from(number) / 8.0,
                rotation: 90,
                hdr: flag,
                has_audio: !flag,
            },
            outputs: vec![Output {
                variant: "thumbnail.jpg".into(),
                bytes: big,
                content_type: text.into(),
                etag: "\"e\"".into(),
                width: number,
                height: 1,
            }],
            thumbhash: flag.then(|| text.to_owned()),
            dominant_color: flag.then(|| "#000000".into()),
            poster_ms: flag.then_some(big),
            timings: Timings { received: 1, probed: 2, rendered: 3, committed: big },
            reads: ReadStats { requests: 4, bytes: big, round_trips: 6 },
        }
    }

    fn client_metadata(text: &str, flag: bool) -> ClientMetadata {
        let metadata =
            if flag { BTreeMap::from([(text.to_owned(), text.to_owned())]) } else { BTreeMap::new() };
        let trace_id = flag.then(|| TraceId::from_video(VideoId::new(1, [2; 10])));
        ClientMetadata { external_id: flag.then(|| text.to_owned()), metadata, trace_id }
    }

    proptest! {
        #[test]
        fn tree_reader_matches_serde(
            number: u32,
            text: String,
            flag: bool,
            code in proptest::sample::select(Code::ALL),
        ) {
            let manifest = manifest(number, &text, flag, code);
            prop_assert_eq!(Manifest::from_json(&to_json(&manifest)), Some(manifest.clone()));
            let failure = Failure {
                version: 1,
                video: manifest.video,
                owner: manifest.owner.clone(),
                code,
                failed_at: u64::from(number),
                client_metadata: manifest.client_metadata.clone(),
            };
            prop_assert_eq!(Failure::from_json(&to_json(&failure)), Some(failure));
            let attempt = Attempt {
                message: text.clone(),
                number,
                started_at: u64::from(number) + 1,
                lease_expires_at: u64::from(number) + 2,
                ends_at: u64::from(number) + 3,
            };
            let note = BTreeMap::from([("attempt", &attempt)]);
            prop_assert_eq!(Attempt::from_failure_json(&to_json(&note)), Some(attempt));
            let poster = Poster {
                version: 1,
                video: manifest.video,
                time_ms: flag.then_some(u64::from(number)),
                revision: u64::from(number),
                outputs: manifest.outputs.clone(),
                thumbhash: text.clone(),
                dominant_color: "#010203".into(),
                chosen_at: 7,
            };
            prop_assert_eq!(Poster::from_json(&to_json(&poster)), Some(poster.clone()));
            let mut shown = manifest.clone();
            shown.apply_poster(poster);
            prop_assert_eq!(shown.outputs.len(), manifest.outputs.len());
            prop_assert_eq!(shown.dominant_color.as_deref(), Some("#010203"));
            let mut carrier = crate::object! {};
            manifest.client_metadata.insert_into(&mut carrier);
            prop_assert_eq!(&carrier, &to_json(&manifest.client_metadata));
        }
    }

    #[test]
    fn ignores_unknown_fields_and_defaults_missing_ones() {
        let (video, owner) = (VideoId::new(1, [1; 10]), Owner::new("i", "s"));
        let text = format!(
            r#"{{"version":9,"video":"{video}","owner":"{owner}","state":"ready","source":{{"moon":1}},"new":[1]}}"#
        );
        let read = Manifest::from_json(&Json::parse(text.as_bytes()).unwrap());
        assert_eq!(read, Some(serde_json::from_str(&text).unwrap()));
        for (from, to) in [("ready", "moving"), ("\"owner\"", "\"o\""), (&video.to_string(), "x")] {
            assert_eq!(
                Manifest::from_json(&Json::parse(text.replace(from, to).as_bytes()).unwrap()),
                None,
                "{to}"
            );
        }
    }
}
