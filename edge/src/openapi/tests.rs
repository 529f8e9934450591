//! Holds the document against the code: routes, methods, codes, statuses, and the file that was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use glimpse_contract::Code;

use super::*;
use crate::http::route::route;

const ROUTES: &str = include_str!("../http/route.rs");
const HOW: &str = "describe it in edge/src/openapi/ (videos.rs, uppy.rs, sign_in.rs or delivery.rs), then run `cargo xtask \
                   openapi`";
/// Addresses that are routed only to say why there is nothing.
const REFUSED: &[&str] = &["/s3/sts"];

/// The names of `Route`'s variants, from its source.
fn variants() -> BTreeSet<String> {
    let body = ROUTES.split("pub enum Route {").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let names = body.lines().filter_map(|line| {
        let name =
            line.strip_prefix("    ").filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))?;
        name.split(|c: char| !c.is_ascii_alphanumeric()).next()
    });
    names.map(str::to_owned).collect()
}

/// The addresses that `route.rs` matches, parameters as `{}`, from its source.
fn addresses() -> BTreeSet<String> {
    let body = ROUTES.split("fn answers(").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let arms = body.lines().filter_map(|line| {
        let pattern = line.trim().strip_prefix('[')?.split_once("] =>")?.0;
        let segments = pattern.split(", ").map(|segment| match segment.strip_prefix('"') {
            Some(word) => word.trim_end_matches('"'),
            None => "{}",
        });
        Some(segments.fold(String::new(), |path, segment| path + "/" + segment))
    });
    arms.filter(|path| !path.contains('"') && !REFUSED.contains(&path.as_str())).collect()
}

/// A path without the names of its parameters.
fn bare(path: &str) -> String {
    path.split('/')
        .map(|segment| if segment.starts_with('{') { "{}" } else { segment })
        .collect::<Vec<_>>()
        .join("/")
}

/// What is described and routed, without the calls by token in the path.
fn described() -> Vec<Operation> {
    operations().into_iter().filter(|op| op.access != Access::Holder && op.path != ADDRESS).collect()
}

#[test]
fn every_route_is_described() {
    let mut seen = BTreeSet::new();
    for operation in described() {
        let path = example::path(&operation.path);
        let found =
            route(operation.method, &path, None).unwrap_or_else(|none| panic!("{path}: {:?}", none.problem));
        let name = format!("{found:?}");
        seen.insert(name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap().to_owned());
    }
    for variant in variants() {
        assert!(
            seen.contains(&variant),
            "Route::{variant} is in no operation of the OpenAPI document: {HOW}"
        );
    }
    let paths: BTreeSet<String> = described().iter().map(|operation| bare(&operation.path)).collect();
    for address in addresses() {
        assert!(paths.contains(&address), "{address} is in no operation of the OpenAPI document: {HOW}");
    }
    assert!(variants().len() > 20 && addresses().len() > 15, "route.rs is read as it is written");
}

#[test]
fn every_method_of_an_address_is_described() {
    let mut methods: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for operation in described() {
        methods.entry(operation.path).or_default().insert(operation.method);
    }
    for (template, described) in methods {
        let path = example::path(&template);
        let allow = route("PATCH", &path, None).unwrap_err().allow.unwrap();
        let answered: BTreeSet<&str> =
            allow.split(", ").filter(|name| !["HEAD", "OPTIONS"].contains(name)).collect();
        assert_eq!(described, answered, "{template} answers {allow}: {HOW}");
    }
}

#[test]
fn whoever_holds_a_token_finds_every_call_that_is_open_to_them() {
    for operation in described() {
        let found = route(operation.method, &example::path(&operation.path), None).unwrap();
        let twin = operations().into_iter().find(|twin| {
            twin.method == operation.method && twin.path == format!("/u/{{token}}{}", operation.path)
        });
        let is_open = found.is_for_tokens() && operation.access == Access::Caller;
        assert_eq!(twin.is_some(), is_open, "{} {}", operation.method, operation.path);
    }
}

#[test]
fn every_code_can_happen_somewhere() {
    let described = described_codes();
    for &code in Code::ALL {
        // 405 is said of methods that are not described.
        let is_general = code == Code::MethodNotAllowed;
        assert!(
            is_general || described.contains(&code),
            "no operation of the OpenAPI document has the problem `{}`: {HOW}",
            code.as_str()
        );
    }
    let schemas = &document()["components"]["schemas"];
    assert_eq!(schemas["Code"]["enum"].as_array().unwrap().len(), Code::ALL.len());
}

#[test]
fn the_document_is_written_down() {
    let written = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let written = fs::read_to_string(written).unwrap_or_default();
    assert!(written == text(), "docs/openapi.json is not what the code says: run `cargo xtask openapi`");
}

#[test]
fn ids_and_references_hold() {
    let document = document();
    let mut ids = BTreeSet::new();
    for path in document["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{id} says nothing");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let name = reference.split('"').next().unwrap().strip_prefix("#/components/schemas/").unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not there");
    }
}

/// Bodies that are described are understood, and what is described as unknown is refused.
#[test]
fn the_parsers_take_the_bodies_that_are_described() {
    use crate::uploads::{
        Allowance, parse_completion, parse_creation, parse_mint, parse_new_video, parse_presign,
    };
    let allowance = Allowance::of_config(&example::config());
    let document = document();
    let body = |path: &str| {
        let example =
            &document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"];
        serde_json::to_vec(example).unwrap()
    };
    assert!(parse_new_video(&body("/api/videos"), &allowance).is_ok());
    assert!(parse_creation(&body("/s3/multipart")).is_ok());
    assert!(parse_completion(&body("/s3/multipart/{uploadId}/complete")).is_ok());
    assert!(parse_presign(&body("/s3/presign")).is_ok());
    assert!(parse_mint(&body("/api/upload-tokens")).is_ok());
    for name in document["components"]["schemas"]["Mint"]["properties"].as_object().unwrap().keys() {
        assert!(
            parse_mint(format!("{{\"{name}\":null}}").as_bytes()).is_ok(),
            "{name} is not known to the parser"
        );
    }
    assert!(parse_mint(b"{\"something\":null}").is_err());
    assert!(crate::delivery::token_request::parse_mint(&body("/api/videos/{video}/tokens")).is_ok());
    delivery_tokens_are_described_as_they_are_read(&document);
}

/// What is left out is what the document says, and `null` is neither described nor taken.
fn delivery_tokens_are_described_as_they_are_read(document: &Value) {
    let parse = |body: &Value| crate::delivery::token_request::parse_mint(body.to_string().as_bytes());
    let schemas = &document["components"]["schemas"];
    let properties = schemas["DeliveryMint"]["properties"].as_object().unwrap();
    let defaults = properties.iter().map(|(name, property)| (name.clone(), property["default"].clone()));
    assert_eq!(parse(&Value::Object(defaults.collect())), parse(&json!({})));
    for (name, property) in properties {
        assert!(property["type"].is_string(), "{name} is of one type");
        assert!(parse(&json!({ name.as_str(): null })).is_err(), "{name}");
    }
    let words = schemas["DeliveryType"]["enum"].as_array().unwrap();
    assert!(parse(&json!({ "types": words })).is_ok());
    assert!(parse(&json!({ "types": [words[0], words[0]] })).is_err(), "each once");
    assert!(parse(&json!({ "types": ["subtitles"] })).is_err());
}
