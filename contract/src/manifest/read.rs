//! Decides how the edge reads what the backend wrote: out of [`Json`], as serde's own way does at four times the size.

use super::{
    Attempt, Failure, Manifest, Output, Passthrough, Poster, Reads, RejectedBecause, Source, State, Timings,
    Visibility,
};
use crate::json::Json;
use crate::problem::Code;

fn text(json: &Json, name: &str) -> String {
    json.get(name).text().unwrap_or_default().to_owned()
}

fn number(json: &Json, name: &str) -> u64 {
    json.get(name).whole().unwrap_or(0)
}

fn small(json: &Json, name: &str) -> u32 {
    u32::try_from(number(json, name)).unwrap_or(0)
}

impl Passthrough {
    /// Reads the members of what carries it.
    pub fn of_json(json: &Json) -> Self {
        Self {
            external_id: json.get("external_id").text().map(str::to_owned),
            metadata: json.get("metadata").text_map().unwrap_or_default(),
            trace_id: json.get("trace_id").text().and_then(|text| text.parse().ok()),
        }
    }

    /// Adds its members to what carries it.
    pub fn put_into(&self, json: &mut Json) {
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
    fn of_json(json: &Json) -> Self {
        Self {
            etag: text(json, "etag"),
            bytes: number(json, "bytes"),
            content_type: text(json, "content_type"),
            name: text(json, "name"),
            container: text(json, "container"),
            codec: text(json, "codec"),
            width: small(json, "width"),
            height: small(json, "height"),
            duration_ms: number(json, "duration_ms"),
            fps: match json.get("fps") {
                Json::Fraction(fps) => *fps,
                other => other.whole().unwrap_or(0) as f64,
            },
            rotation: small(json, "rotation"),
            hdr: *json.get("hdr") == Json::Bool(true),
            has_audio: *json.get("has_audio") == Json::Bool(true),
        }
    }
}

impl Output {
    /// Reads one picture of a manifest.
    pub fn of_json(json: &Json) -> Self {
        Self {
            variant: text(json, "variant"),
            bytes: number(json, "bytes"),
            content_type: text(json, "content_type"),
            etag: text(json, "etag"),
            width: small(json, "width"),
            height: small(json, "height"),
        }
    }
}

impl Manifest {
    /// Reads a manifest; `None` if it lacks what makes it one.
    pub fn of_json(json: &Json) -> Option<Self> {
        let rejected = json.get("rejected");
        let (timings, reads) = (json.get("timings"), json.get("reads"));
        let optional = |name| json.get(name).text().map(str::to_owned);
        Some(Self {
            version: small(json, "version"),
            video: json.get("video").text()?.parse().ok()?,
            owner: json.get("owner").text()?.parse().ok()?,
            visibility: match json.get("visibility") {
                Json::Null => Visibility::default(),
                word => Visibility::from_word(word.text()?),
            },
            passthrough: Passthrough::of_json(json),
            state: match json.get("state").text()? {
                "ready" => State::Ready,
                "rejected" => State::Rejected,
                _ => return None,
            },
            rejected: rejected
                .is_object()
                .then(|| RejectedBecause { code: Code::of_json(rejected.get("code")) }),
            source: Source::of_json(json.get("source")),
            outputs: json.get("outputs").list().unwrap_or_default().iter().map(Output::of_json).collect(),
            thumbhash: optional("thumbhash"),
            dominant_color: optional("dominant_color"),
            poster_ms: json.get("poster_ms").whole(),
            timings: Timings {
                received: number(timings, "received"),
                probed: number(timings, "probed"),
                rendered: number(timings, "rendered"),
                committed: number(timings, "committed"),
            },
            reads: Reads {
                requests: number(reads, "requests"),
                bytes: number(reads, "bytes"),
                round_trips: number(reads, "round_trips"),
            },
        })
    }
}

impl Poster {
    /// Reads a choice of the poster; `None` if it lacks what makes it one.
    pub fn of_json(json: &Json) -> Option<Self> {
        Some(Self {
            version: small(json, "version"),
            video: json.get("video").text()?.parse().ok()?,
            time_ms: json.get("time_ms").whole(),
            revision: number(json, "revision"),
            outputs: json.get("outputs").list()?.iter().map(Output::of_json).collect(),
            thumbhash: text(json, "thumbhash"),
            dominant_color: text(json, "dominant_color"),
            chosen_at: number(json, "chosen_at"),
        })
    }
}

impl Failure {
    /// Reads the note of a failed try; `None` if it lacks what makes it one.
    pub fn of_json(json: &Json) -> Option<Self> {
        Some(Self {
            version: small(json, "version"),
            video: json.get("video").text()?.parse().ok()?,
            owner: json.get("owner").text()?.parse().ok()?,
            code: Code::of_json(json.get("code")),
            failed_at: number(json, "failed_at"),
            passthrough: Passthrough::of_json(json),
        })
    }
}

impl Attempt {
    /// Reads the member `attempt` of the note of a failed try; `None` if it has none.
    pub fn of_failure(json: &Json) -> Option<Self> {
        let json = json.get("attempt");
        Some(Self {
            message: json.get("message").text()?.to_owned(),
            number: small(json, "number"),
            started_at: number(json, "started_at"),
            lease_expires_at: number(json, "lease_expires_at"),
            ends_at: number(json, "ends_at"),
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

    fn tree(value: &impl Serialize) -> Json {
        Json::read(&serde_json::to_vec(value).unwrap()).unwrap()
    }

    fn manifest(number: u32, text: &str, flag: bool, code: Code) -> Manifest {
        let big = u64::from(number) * 1_000_003;
        Manifest {
            version: number,
            video: VideoId::new(big, [number as u8; 10]),
            owner: Owner::of(text, "s"),
            visibility: if flag { Visibility::Signed } else { Visibility::Public },
            passthrough: passthrough(text, flag),
            state: if flag { State::Rejected } else { State::Ready },
            rejected: flag.then_some(RejectedBecause { code }),
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
            reads: Reads { requests: 4, bytes: big, round_trips: 6 },
        }
    }

    fn passthrough(text: &str, flag: bool) -> Passthrough {
        let metadata =
            if flag { BTreeMap::from([(text.to_owned(), text.to_owned())]) } else { BTreeMap::new() };
        let trace_id = flag.then(|| TraceId::of(VideoId::new(1, [2; 10])));
        Passthrough { external_id: flag.then(|| text.to_owned()), metadata, trace_id }
    }

    proptest! {
        #[test]
        fn both_ways_read_the_same(
            number: u32,
            text: String,
            flag: bool,
            code in proptest::sample::select(Code::ALL),
        ) {
            let manifest = manifest(number, &text, flag, code);
            prop_assert_eq!(Manifest::of_json(&tree(&manifest)), Some(manifest.clone()));
            let failure = Failure {
                version: 1,
                video: manifest.video,
                owner: manifest.owner.clone(),
                code,
                failed_at: u64::from(number),
                passthrough: manifest.passthrough.clone(),
            };
            prop_assert_eq!(Failure::of_json(&tree(&failure)), Some(failure));
            let attempt = Attempt {
                message: text.clone(),
                number,
                started_at: u64::from(number) + 1,
                lease_expires_at: u64::from(number) + 2,
                ends_at: u64::from(number) + 3,
            };
            let note = BTreeMap::from([("attempt", &attempt)]);
            prop_assert_eq!(Attempt::of_failure(&tree(&note)), Some(attempt));
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
            prop_assert_eq!(Poster::of_json(&tree(&poster)), Some(poster.clone()));
            let mut shown = manifest.clone();
            shown.apply(poster);
            prop_assert_eq!(shown.outputs.len(), manifest.outputs.len());
            prop_assert_eq!(shown.dominant_color.as_deref(), Some("#010203"));
            let mut carrier = crate::object! {};
            manifest.passthrough.put_into(&mut carrier);
            prop_assert_eq!(&carrier, &tree(&manifest.passthrough));
        }
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over_and_what_an_earlier_one_lacked_is_not_missed() {
        let (video, owner) = (VideoId::new(1, [1; 10]), Owner::of("i", "s"));
        let text = format!(
            r#"{{"version":9,"video":"{video}","owner":"{owner}","state":"ready","source":{{"moon":1}},"new":[1]}}"#
        );
        let read = Manifest::of_json(&Json::read(text.as_bytes()).unwrap());
        assert_eq!(read, Some(serde_json::from_str(&text).unwrap()));
        for (from, to) in [("ready", "moving"), ("\"owner\"", "\"o\""), (&video.to_string(), "x")] {
            assert_eq!(
                Manifest::of_json(&Json::read(text.replace(from, to).as_bytes()).unwrap()),
                None,
                "{to}"
            );
        }
    }
}
