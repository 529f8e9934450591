//! Shared components of the document: what several operations have in common stands once, and they refer to it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use serde_json::{Map, Value, json};

/// Operation Objects by path and method.
pub(super) type Paths = BTreeMap<String, Map<String, Value>>;

/// The largest number of codes in a component's name.
const MAX_NAMED_CODES: usize = 3;

/// A part of an operation that others may share.
struct SharedComponent<'a> {
    /// The name of its component.
    name: String,
    /// The operation, which is appended to the name if different components have the same.
    operation: String,
    value: &'a mut Value,
}

/// Moves equal responses, parameters, bodies, headers and examples of operations to components. Returns them by kind.
///
/// # Panics
/// If two different components have the same name.
pub(super) fn share_components(paths: &mut Paths) -> BTreeMap<&'static str, Map<String, Value>> {
    let mut responses = share("responses", find_responses(paths));
    let (headers, mut examples) = {
        let mut all: Vec<(String, &mut Value)> = Vec::new();
        all.extend(responses.iter_mut().map(|(name, response)| (name.clone(), response)));
        all.extend(find_responses(paths).into_iter().map(|found| (found.operation, found.value)));
        (share("headers", find_headers(&mut all)), share("examples", find_examples(&mut all)))
    };
    for response in responses.values_mut().chain(find_responses(paths).into_iter().map(|found| found.value)) {
        name_shared_examples(response);
    }
    for example in examples.values_mut() {
        *example = json!({ "value": example.take() });
    }
    let parameters = share("parameters", find_parameters(paths));
    let bodies = share("requestBodies", find_bodies(paths));
    BTreeMap::from([
        ("responses", responses),
        ("headers", headers),
        ("examples", examples),
        ("parameters", parameters),
        ("requestBodies", bodies),
    ])
}

/// Replaces values that occur at least twice by references. Returns them by name.
fn share(kind: &str, mut candidates: Vec<SharedComponent>) -> Map<String, Value> {
    let mut uses: BTreeMap<String, u32> = BTreeMap::new();
    for candidate in &candidates {
        *uses.entry(candidate.value.to_string()).or_default() += 1;
    }
    // A single member is not longer than a reference.
    let is_long = |value: &Value| value.as_object().is_some_and(|members| members.len() > 1);
    candidates.retain(|candidate| is_long(candidate.value) && uses[&candidate.value.to_string()] > 1);
    let mut values_by_name: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for candidate in &candidates {
        values_by_name.entry(candidate.name.clone()).or_default().insert(candidate.value.to_string());
    }
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut components = Map::new();
    for SharedComponent { name, operation, value } in candidates {
        let is_unique = values_by_name[&name].len() == 1;
        let name = names
            .entry(value.to_string())
            .or_insert_with(|| if is_unique { name } else { format!("{name}.{operation}") });
        let component = mem::replace(value, json!({ "$ref": format!("#/components/{kind}/{name}") }));
        let other = components.insert(name.clone(), component.clone());
        assert!(
            other.is_none_or(|other| other == component),
            "two components of {kind} have the name {name}"
        );
    }
    components
}

/// All operations with their ids.
fn operations(paths: &mut Paths) -> impl Iterator<Item = (String, &mut Map<String, Value>)> {
    paths.values_mut().flat_map(Map::values_mut).filter_map(|operation| {
        let id = operation["operationId"].as_str()?.to_owned();
        Some((id, operation.as_object_mut()?))
    })
}

fn find_responses(paths: &mut Paths) -> Vec<SharedComponent<'_>> {
    let mut found = Vec::new();
    for (operation, members) in operations(paths) {
        for (status, value) in members_of(members.get_mut("responses")) {
            let name = problem_name(status, value).unwrap_or_else(|| format!("{operation}.{status}"));
            found.push(SharedComponent { name, operation: operation.clone(), value });
        }
    }
    found
}

/// The name of a problem's response: its codes, or its status if there are too many.
fn problem_name(status: &str, response: &Value) -> Option<String> {
    let schema = &response["content"]["application/problem+json"]["schema"];
    let codes = schema["properties"]["code"]["enum"].as_array()?;
    if codes.len() > MAX_NAMED_CODES {
        return Some(format!("Problem{status}"));
    }
    Some(codes.iter().filter_map(Value::as_str).map(pascal_case).collect::<Vec<_>>().join("Or"))
}

fn pascal_case(code: &str) -> String {
    let capitalize = |word: &str| word[..1].to_uppercase() + &word[1..];
    code.split('_').map(capitalize).collect()
}

fn find_headers<'a>(responses: &'a mut [(String, &mut Value)]) -> Vec<SharedComponent<'a>> {
    let mut found = Vec::new();
    for (operation, response) in responses {
        for (name, value) in members_of(response.get_mut("headers")) {
            found.push(SharedComponent { name: name.clone(), operation: operation.clone(), value });
        }
    }
    found
}

/// The examples of responses, each with the name of its type.
fn find_examples<'a>(responses: &'a mut [(String, &mut Value)]) -> Vec<SharedComponent<'a>> {
    let mut found = Vec::new();
    for (operation, response) in responses {
        for (_, content) in members_of(response.get_mut("content")) {
            let name = content["schema"]["$ref"].as_str().and_then(|text| text.rsplit('/').next());
            let name = name.unwrap_or(operation.as_str()).to_owned();
            if let Some(value) = content.get_mut("example") {
                found.push(SharedComponent { name, operation: operation.clone(), value });
            }
        }
    }
    found
}

/// Moves a response's reference to an example from `example`, which contains values only, to `examples`.
fn name_shared_examples(response: &mut Value) {
    for (_, content) in members_of(response.get_mut("content")) {
        let Some(content) = content.as_object_mut() else { continue };
        let reference = content.get("example").and_then(|example| example["$ref"].as_str());
        let name = reference.and_then(|text| text.strip_prefix("#/components/examples/")).map(str::to_owned);
        let Some(name) = name else { continue };
        let example = content.remove("example");
        content.insert("examples".into(), json!({ name: example }));
    }
}

fn find_parameters(paths: &mut Paths) -> Vec<SharedComponent<'_>> {
    let mut found = Vec::new();
    for (operation, members) in operations(paths) {
        let parameters = members.get_mut("parameters").and_then(Value::as_array_mut);
        for value in parameters.into_iter().flatten() {
            let text = |member: &str| value[member].as_str().unwrap_or_default();
            let name = format!("{}.{}", text("in"), text("name"));
            found.push(SharedComponent { name, operation: operation.clone(), value });
        }
    }
    found
}

fn find_bodies(paths: &mut Paths) -> Vec<SharedComponent<'_>> {
    let body = |(operation, members): (String, _)| {
        let value = Map::get_mut(members, "requestBody")?;
        Some(SharedComponent { name: operation.clone(), operation, value })
    };
    operations(paths).filter_map(body).collect()
}

fn members_of(object: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    object.and_then(Value::as_object_mut).into_iter().flatten()
}
