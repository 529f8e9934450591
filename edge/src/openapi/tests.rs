//! Tests that the document matches the code: routes, methods, codes, statuses, and the committed file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use glimpse_contract::Code;

use super::*;
use crate::http::route::route;

const ROUTE_SOURCE: &str = include_str!("../http/route.rs");
const FIX_HINT: &str = "describe it in edge/src/openapi/ (videos.rs, uppy.rs, sign_in.rs or delivery.rs), then run `cargo xtask \
                   openapi`";
/// Paths that are routed only to return an explanation.
const UNDESCRIBED_PATHS: &[&str] = &["/s3/sts"];

/// The names of the variants of `PublicRoute` and `ApiRoute`, from their source.
fn variants() -> BTreeSet<String> {
    let lines = ["pub enum PublicRoute {", "pub enum ApiRoute {"].into_iter().flat_map(|start| {
        let body = ROUTE_SOURCE.split(start).nth(1).and_then(|rest| rest.split("\n}").next());
        body.unwrap().lines()
    });
    let names = lines.filter_map(|line| {
        let name =
            line.strip_prefix("    ").filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))?;
        name.split(|c: char| !c.is_ascii_alphanumeric()).next()
    });
    names.map(str::to_owned).collect()
}

/// The paths that `route.rs` matches, parameters as `{}`, from its source.
fn addresses() -> BTreeSet<String> {
    let body =
        ROUTE_SOURCE.split("fn routes_for_path(").nth(1).and_then(|rest| rest.split("\n}").next()).unwrap();
    let arms = body.lines().filter_map(|line| {
        let pattern = line.trim().strip_prefix('[')?.split_once("] =>")?.0;
        let segments = pattern.split(", ").map(|segment| match segment.strip_prefix('"') {
            Some(word) => word.trim_end_matches('"'),
            None => "{}",
        });
        Some(segments.fold(String::new(), |path, segment| path + "/" + segment))
    });
    arms.filter(|path| !path.contains('"') && !UNDESCRIBED_PATHS.contains(&path.as_str())).collect()
}

/// A path without the names of its parameters.
fn erase_parameter_names(path: &str) -> String {
    path.split('/')
        .map(|segment| if segment.starts_with('{') { "{}" } else { segment })
        .collect::<Vec<_>>()
        .join("/")
}

/// All routed operations, without those with a token in the path.
fn operations_without_token() -> Vec<Operation> {
    operations()
        .into_iter()
        .filter(|op| op.security != SecurityRequirement::TokenHolder && op.path != DOCUMENT_PATH)
        .collect()
}

#[test]
fn every_route_is_described() {
    let mut described = BTreeSet::new();
    for operation in operations_without_token() {
        let path = example::path(&operation.path);
        let route =
            route(operation.method, &path, None).unwrap_or_else(|none| panic!("{path}: {:?}", none.problem));
        let name = format!("{route:?}");
        described.insert(name.split(|c: char| !c.is_ascii_alphanumeric()).nth(1).unwrap().to_owned());
    }
    for variant in variants() {
        assert!(
            described.contains(&variant),
            "Route::{variant} is in no operation of the OpenAPI document: {FIX_HINT}"
        );
    }
    let paths: BTreeSet<String> =
        operations_without_token().iter().map(|operation| erase_parameter_names(&operation.path)).collect();
    for address in addresses() {
        assert!(paths.contains(&address), "{address} is in no operation of the OpenAPI document: {FIX_HINT}");
    }
    assert!(variants().len() > 20 && addresses().len() > 15, "route.rs has the expected format");
}

#[test]
fn every_method_of_an_address_is_described() {
    let mut methods: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for operation in operations_without_token() {
        methods.entry(operation.path).or_default().insert(operation.method);
    }
    for (template, described) in methods {
        let path = example::path(&template);
        let allow = route("PATCH", &path, None).unwrap_err().allow.unwrap();
        let allowed: BTreeSet<&str> =
            allow.split(", ").filter(|name| !["HEAD", "OPTIONS"].contains(name)).collect();
        assert_eq!(described, allowed, "{template} allows {allow}: {FIX_HINT}");
    }
}

#[test]
fn every_token_route_is_described() {
    for operation in operations_without_token() {
        let route = route(operation.method, &example::path(&operation.path), None).unwrap();
        let with_token = operations().into_iter().find(|other| {
            other.method == operation.method && other.path == format!("/u/{{token}}{}", operation.path)
        });
        let is_open = route.allows_upload_token() && operation.security == SecurityRequirement::Caller;
        assert_eq!(with_token.is_some(), is_open, "{} {}", operation.method, operation.path);
    }
}

#[test]
fn every_code_is_described() {
    let described = described_codes();
    for &code in Code::ALL {
        // 405 is returned for methods that are not described.
        let is_general = code == Code::MethodNotAllowed;
        assert!(
            is_general || described.contains(&code),
            "no operation of the OpenAPI document has the problem `{}`: {FIX_HINT}",
            code.as_str()
        );
    }
    let schemas = &document()["components"]["schemas"];
    assert_eq!(schemas["Code"]["enum"].as_array().unwrap().len(), Code::ALL.len());
}

#[test]
fn document_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == document_text(), "docs/openapi.json is outdated: run `cargo xtask openapi`");
}

#[test]
fn reference_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    let committed = fs::read_to_string(path).unwrap_or_default();
    assert!(committed == reference_text(), "docs/api.md is outdated: run `cargo xtask openapi`");
}

/// Every link within the page leads to an id, and every link to another page to a file.
#[test]
fn reference_links_resolve() {
    let text = reference_text();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/");
    let problems = fs::read_to_string(format!("{docs}problems.md")).unwrap();
    let headings = ["authentication", "errors", "operations", "schemas"];
    let mut count = 0;
    for link in text.split("](").skip(1) {
        let link = link.split(')').next().unwrap();
        let (file, id) = link.split_once('#').unwrap_or((link, ""));
        let anchor = format!("<a id=\"{id}\"></a>");
        match file {
            "" => assert!(text.contains(&anchor) || headings.contains(&id), "{link}"),
            "problems.md" => assert!(id.is_empty() || problems.contains(&anchor), "{link}"),
            _ if file.starts_with("https://") => {}
            _ => assert!(fs::exists(format!("{docs}{file}")).unwrap(), "{link}"),
        }
        count += 1;
    }
    assert!(count > 500, "{count} links");
    for id in text.split("<a id=\"").skip(1) {
        let anchor = format!("<a id=\"{}\"", id.split('"').next().unwrap());
        assert_eq!(text.matches(&anchor).count(), 1, "{anchor}");
    }
}

#[test]
fn ids_are_unique_and_references_resolve() {
    let document = document();
    let mut ids = BTreeSet::new();
    for path in document["paths"].as_object().unwrap().values() {
        for operation in path.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{id} has no summary");
        }
    }
    let text = document.to_string();
    let mut referenced = BTreeSet::new();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let pointer = reference.split('"').next().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{pointer} is missing");
        referenced.insert(pointer);
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let is_valid = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
            assert!(name.chars().all(is_valid), "{kind} {name}: OpenAPI 3.1.0, section 4.8.7");
            let pointer = format!("/components/{kind}/{name}");
            assert!(
                kind == "securitySchemes" || referenced.contains(pointer.as_str()),
                "{pointer} is not used"
            );
        }
    }
}

/// The value with its references replaced by the components, except schemas, which are shared by their types.
fn expand_references(document: &Value, value: &Value) -> Value {
    match value {
        Value::Object(members) => match members.get("$ref").and_then(Value::as_str) {
            Some(reference) if !reference.starts_with("#/components/schemas/") => {
                expand_references(document, document.pointer(&reference[1..]).unwrap())
            }
            _ => members
                .iter()
                .map(|(name, member)| match (name.as_str(), expand_references(document, member)) {
                    ("examples", Value::Object(named)) => {
                        let example = named.into_values().next().unwrap();
                        ("example".to_owned(), example["value"].clone())
                    }
                    (name, member) => (name.to_owned(), member),
                })
                .collect(),
        },
        Value::Array(items) => items.iter().map(|item| expand_references(document, item)).collect(),
        _ => value.clone(),
    }
}

/// Shared components change no operation: with its references replaced, each has its own problems, parameters, bodies,
/// headers and examples.
#[test]
fn shared_components_keep_operations() {
    let document = document();
    let (mut bodies, mut answers) = schema_generators();
    for operation in operations() {
        let shared = &document["paths"][&operation.path][operation.method.to_lowercase()];
        let own = operation.to_json(&mut bodies, &mut answers);
        assert_eq!(expand_references(&document, shared), own, "{} {}", operation.method, operation.path);
        for code in operation.all_problems() {
            let response = expand_references(&document, &shared["responses"][code.status().to_string()]);
            let described = response["description"].as_str().unwrap();
            assert!(described.contains(&format!("`{}`: ", code.as_str())), "{}: {code:?}", operation.id);
        }
    }
}

/// No response, parameter or body is repeated: a reader compares references.
#[test]
fn operations_share_equal_parts() {
    let document = document();
    let mut seen = BTreeSet::new();
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap())
    {
        let (_, operation) = operation;
        let responses = operation["responses"].as_object().unwrap().values();
        let parameters = operation["parameters"].as_array().unwrap();
        for part in responses.chain(parameters).chain(operation.get("requestBody")) {
            let is_short = part.as_object().unwrap().len() == 1;
            assert!(is_short || seen.insert(part.to_string()), "{part} is repeated");
        }
    }
    let lines = document_text().lines().count();
    assert!(lines < 8000, "docs/openapi.json has {lines} lines");
}

/// The parsers accept described bodies, and reject members that are not described.
#[test]
fn parsers_accept_described_bodies() {
    use crate::uploads::{
        UploadPolicy, parse_completion, parse_creation, parse_new_video, parse_presign, parse_token_request,
    };
    let policy = UploadPolicy::from_config(&example::config());
    let document = document();
    let body = |path: &str| {
        let body = expand_references(&document, &document["paths"][path]["post"]["requestBody"]);
        serde_json::to_vec(&body["content"]["application/json"]["example"]).unwrap()
    };
    assert!(parse_new_video(&body("/api/videos"), &policy).is_ok());
    assert!(parse_creation(&body("/s3/multipart")).is_ok());
    assert!(parse_completion(&body("/s3/multipart/{uploadId}/complete")).is_ok());
    assert!(parse_presign(&body("/s3/presign")).is_ok());
    assert!(parse_token_request(&body("/api/upload-tokens")).is_ok());
    for name in document["components"]["schemas"]["CreateUploadTokenRequest"]["properties"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(
            parse_token_request(format!("{{\"{name}\":null}}").as_bytes()).is_ok(),
            "the parser does not know {name}"
        );
    }
    assert!(parse_token_request(b"{\"something\":null}").is_err());
    assert!(crate::delivery::token_request::parse(&body("/api/videos/{video}/tokens")).is_ok());
    check_delivery_token_body(&document);
}

/// Defaults are those of the document, and `null` is neither described nor accepted.
fn check_delivery_token_body(document: &Value) {
    let parse = |body: &Value| crate::delivery::token_request::parse(body.to_string().as_bytes());
    let schemas = &document["components"]["schemas"];
    let properties = schemas["CreateDeliveryTokensRequest"]["properties"].as_object().unwrap();
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

#[test]
fn every_credential_header_has_one_security_scheme() {
    let document = document();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let mut described: Vec<_> = schemes
        .values()
        .map(|scheme| match (scheme["type"].as_str().unwrap(), scheme["in"].as_str()) {
            ("http", None) => "authorization".to_owned(),
            ("apiKey", Some("cookie")) => "cookie".to_owned(),
            ("apiKey", Some("header")) => scheme["name"].as_str().unwrap().to_ascii_lowercase(),
            other => panic!("{other:?}"),
        })
        .collect();
    let mut headers: Vec<_> = Carrier::ALL.into_iter().filter_map(Carrier::header).collect();
    described.sort_unstable();
    headers.sort_unstable();
    assert_eq!(described, headers);

    let required: BTreeSet<_> = document["security"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|one| one.as_object().unwrap().keys())
        .collect();
    assert_eq!(required, schemes.keys().collect());
}
