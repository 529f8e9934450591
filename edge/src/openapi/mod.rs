//! The OpenAPI 3.1 document of the API, generated from the types, limits and codes of the code.
//!
//! It is not part of the Worker: `cargo xtask openapi` writes it to `docs/openapi.json`, and the build of the page
//! copies it beside the page, where it is served as `/api/openapi.json`. A route without a description fails a test.
//! The same command writes the reference for people, `docs/api.md`, which is generated from the document.

mod components;
mod delivery;
mod example;
mod operation;
mod problem;
mod reference;
pub mod requests;
pub mod responses;
mod shape;
mod sign_in;
mod uppy;
mod videos;

pub use operation::Operation;

use std::collections::BTreeMap;

use glimpse_contract::Code;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::auth::Cookies;
use crate::auth::carrier::Carrier;
use crate::http::route;
use components::Paths;
use operation::SecurityRequirement;

/// The path of the document itself; not a route, since it is a static file beside the page.
pub const DOCUMENT_PATH: &str = "/api/openapi.json";

const DESCRIPTION: &str = "Video uploads and previews for your app, on your own accounts.

A browser requests an upload, sends the file directly to S3, and gets a poster, an animation and a storyboard seconds later.
Requests are authenticated by `Authorization: Bearer` with a JWT, by the session cookie of a user who signed in at this
deployment's OpenID provider, or by an upload token in the path (`/u/{token}/…`), for clients that cannot set headers.

Every `GET` operation also supports `HEAD`. Every response has an `x-request-id`, which is also in the log. Errors are
`application/problem+json` (RFC 9457); a path that does not support the method returns `method_not_allowed` (405)
and the supported methods in `allow`.";

/// All operations, in the order of the document; those for upload tokens a second time with the token.
///
/// # Panics
/// If the Worker does not route the path of an operation.
pub fn operations() -> Vec<Operation> {
    let all = [videos::operations(), uppy::operations(), sign_in::operations(), delivery::operations()];
    let mut operations = Vec::new();
    for operation in all.into_iter().flatten() {
        let with_token = allows_upload_token(&operation).then(|| operation.with_token());
        operations.push(operation);
        operations.extend(with_token);
    }
    operations
}

fn allows_upload_token(operation: &Operation) -> bool {
    if operation.security == SecurityRequirement::Public {
        return false;
    }
    let path = example::path(&operation.path);
    let route = route::route(operation.method, &path, None);
    route
        .unwrap_or_else(|none| panic!("{} {path}: {}", operation.method, none.problem.detail))
        .allows_upload_token()
}

/// The document.
///
/// # Panics
/// If two types with the same name differ.
pub fn document() -> Value {
    let (mut bodies, mut answers) = schema_generators();
    answers.subschema_for::<responses::ProblemSchema>();
    let mut paths = paths(&mut bodies, &mut answers);
    let shared = components::share_components(&mut paths);
    let mut components = json!({
        "schemas": schemas(&mut bodies, &mut answers),
        "securitySchemes": security_schemes().collect::<Map<_, _>>(),
    });
    for (kind, shared) in shared {
        components[kind] = shared.into();
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Glimpse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The deployment that serves this document" }],
        "tags": [
            { "name": videos::TAG, "description": "The caller's videos, from upload to deletion" },
            { "name": uppy::TAG, "description": "Uppy's Companion and `signRequest`, for unmodified Uppy v4, v5 and v6" },
            { "name": sign_in::TAG, "description": "The caller, and browser sign-in at the OpenID provider" },
            { "name": delivery::TAG, "description": "Images and pages of videos, from the edge cache" },
            { "name": sign_in::DEPLOYMENT_TAG, "description": "The deployment itself" },
        ],
        "security": caller_security(),
        "paths": paths,
        "components": components,
    })
}

/// The names and the Security Scheme Objects of the carriers of a caller's credentials.
fn security_schemes() -> impl Iterator<Item = (String, Value)> {
    Carrier::ALL.into_iter().filter_map(security_scheme).map(|(name, scheme)| (name.to_owned(), scheme))
}

/// The name and the Security Scheme Object of a carrier; `None` for a part of the URL, which OpenAPI describes as a
/// parameter.
fn security_scheme(carrier: Carrier) -> Option<(&'static str, Value)> {
    match carrier {
        Carrier::Authorization => {
            let scheme = json!({ "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "A token of the deployment's issuer." });
            Some(("bearer", scheme))
        }
        Carrier::Cookie => {
            let scheme = json!({ "type": "apiKey", "in": "cookie", "name": Cookies::new(true).session_name(),
                "description": "The cookie of a user who signed in at `/auth/login`. Changes must come from an \
                    allowed origin." });
            Some(("session", scheme))
        }
        Carrier::Path | Carrier::Query => None,
    }
}

/// The Security Requirement Objects of a caller, which are the default of all operations.
fn caller_security() -> Value {
    security_schemes().map(|(name, _)| json!({ name: [] })).collect()
}

/// The Paths Object, without shared components.
fn paths(bodies: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Paths {
    let mut paths = Paths::new();
    for operation in operations() {
        let json = operation.to_json(bodies, answers);
        let clash =
            paths.entry(operation.path.clone()).or_default().insert(operation.method.to_lowercase(), json);
        assert!(clash.is_none(), "duplicate operation {} {}", operation.method, operation.path);
    }
    paths
}

fn schemas(bodies: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> BTreeMap<String, Value> {
    let mut schemas = BTreeMap::new();
    for (name, schema) in bodies.take_definitions(true).into_iter().chain(answers.take_definitions(true)) {
        if let Some(other) = schemas.insert(name.clone(), schema.clone()) {
            assert_eq!(other, schema, "{name} has different types in requests and responses");
        }
    }
    schemas
}

/// The generators of the schemas of bodies and of responses.
fn schema_generators() -> (SchemaGenerator, SchemaGenerator) {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    (settings().into_generator(), settings().for_serialize().into_generator())
}

/// The document as text, as it is stored and served.
pub fn document_text() -> String {
    let pretty = serde_json::to_string_pretty(&document()).expect("the document can be serialized");
    let mut text = String::with_capacity(pretty.len());
    let mut lines = pretty.lines().peekable();
    while let Some(line) = lines.next() {
        text.push_str(line);
        // A reference takes one line instead of three.
        if line.ends_with('{') && lines.peek().is_some_and(|next| is_only_reference(next)) {
            for part in lines.by_ref().take(2) {
                text.extend([" ", part.trim_start()]);
            }
        }
        text.push('\n');
    }
    text
}

/// The reference for people, as Markdown. Operations with an upload token in the path are part of those without.
///
/// # Panics
/// If two types with the same name differ.
pub fn reference_text() -> String {
    let mut operations = operations();
    operations.retain(|operation| operation.security != SecurityRequirement::TokenHolder);
    reference::render(&document(), &operations, &example::config().public_url)
}

/// Whether this line is the only member of an object, and a reference.
fn is_only_reference(line: &str) -> bool {
    line.trim_start().starts_with("\"$ref\":") && !line.ends_with(',')
}

/// The codes of all operations and videos.
///
/// # Panics
/// Never: every operation is an object.
pub fn described_codes() -> Vec<Code> {
    let mut codes: Vec<Code> = operations().iter().flat_map(Operation::all_problems).collect();
    codes.sort_by_key(|code| code.as_str());
    codes.dedup();
    codes
}

#[cfg(test)]
mod tests;
