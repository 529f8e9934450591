//! JSON Schema as Markdown: the type of a value in a few words, and tables of the members of objects.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{anchor, cell};

/// Where the schemas of the document are.
const SCHEMAS: &str = "#/components/schemas/";
/// The schema whose values are listed in a document of their own.
const CODE: &str = "Code";

/// The name of the schema that a reference names.
pub(super) fn referenced_name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(SCHEMAS)
}

/// A link to the section of a schema.
pub(super) fn link(name: &str) -> String {
    format!("[{name}](#{})", anchor(&format!("schema {name}")))
}

/// The type of a schema's values, with their range, as Markdown for a table.
pub(super) fn type_text(schema: &Value) -> String {
    if let Some(name) = referenced_name(schema) {
        return link(name);
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", plain(value));
    }
    if let Some(values) = schema["enum"].as_array() {
        return join_alternatives(values.iter().map(|value| format!("`{}`", plain(value))).collect());
    }
    for keyword in ["anyOf", "oneOf"] {
        if let Some(alternatives) = schema[keyword].as_array() {
            return join_alternatives(alternatives.iter().map(type_text).collect());
        }
    }
    let restriction = |name: &str| restriction_text(name, schema);
    match &schema["type"] {
        // Only one of the types is not `null`.
        Value::Array(names) => {
            let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
            let bases = names.iter().map(|name| base_text(name, schema)).collect();
            join_alternatives(bases) + &names.iter().map(|name| restriction(name)).collect::<String>()
        }
        Value::String(name) => base_text(name, schema) + &restriction(name),
        _ => "any".to_owned(),
    }
}

/// The text of a type by its name in JSON Schema.
fn base_text(name: &str, schema: &Value) -> String {
    match name {
        "string" if schema["format"] == "date-time" => "date and time".to_owned(),
        "string" if schema.get("contentMediaType").is_some() => "file".to_owned(),
        "array" => format!("array of {}", plural(type_text(&schema["items"]))),
        "object" => match &schema["additionalProperties"] {
            Value::Object(_) => format!("object of {}", plural(type_text(&schema["additionalProperties"]))),
            _ => "object".to_owned(),
        },
        other => other.to_owned(),
    }
}

/// The plural of a type that is one word.
fn plural(text: String) -> String {
    if text.bytes().all(|byte| byte.is_ascii_alphabetic()) { text + "s" } else { text }
}

/// The keywords that restrict a type.
fn restriction_text(name: &str, schema: &Value) -> String {
    match name {
        "integer" | "number" => {
            let mut text = range_text(schema, "minimum", "maximum", "");
            if let Some(step) = schema["multipleOf"].as_f64() {
                let _ = write!(text, ", in steps of {step}");
            }
            text
        }
        // A pattern that matches anywhere in the text does not show what the text looks like.
        "string" => match schema["pattern"]
            .as_str()
            .filter(|pattern| pattern.starts_with('^') && pattern.ends_with('$'))
        {
            Some(pattern) => format!(", `{}`", cell(pattern)),
            None if schema["minLength"] == 1 && schema.get("maxLength").is_none() => ", not empty".to_owned(),
            None => range_text(schema, "minLength", "maxLength", " characters"),
        },
        "array" => range_text(schema, "minItems", "maxItems", " items"),
        _ => String::new(),
    }
}

/// The range of a number, a length or a count. A minimum of 0 is what a reader expects.
fn range_text(schema: &Value, min: &str, max: &str, unit: &str) -> String {
    let bound = |name: &str| schema.get(name).filter(|value| value.is_number());
    let min = bound(min).filter(|value| value.as_f64() != Some(0.0) || bound(max).is_some());
    match (min, bound(max)) {
        (Some(min), Some(max)) => format!(", {min} to {max}{unit}"),
        (Some(min), None) => format!(", at least {min}{unit}"),
        (None, Some(max)) => format!(", at most {max}{unit}"),
        (None, None) => String::new(),
    }
}

fn join_alternatives(mut alternatives: Vec<String>) -> String {
    alternatives.dedup();
    match alternatives.pop() {
        Some(last) if !alternatives.is_empty() => format!("{} or {last}", alternatives.join(", ")),
        last => last.unwrap_or_default(),
    }
}

/// A value as in a URL: strings without quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A description with the default of the value.
pub(super) fn description_text(description: &str, schema: &Value) -> String {
    let mut text = cell(description);
    if let Some(default) = schema.get("default") {
        let _ = write!(text, " Default: `{}`.", plain(default));
    }
    text
}

/// The table of an object's members, the required ones first.
pub(super) fn members_table(schema: &Value) -> String {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let is_required =
        |name: &str| schema["required"].as_array().is_some_and(|names| names.contains(&name.into()));
    let mut members: Vec<(&String, &Value)> = properties.iter().collect();
    members.sort_by_key(|(name, _)| !is_required(name));
    let mut table = "| member | type | description |\n|---|---|---|\n".to_owned();
    for (name, member) in members {
        let presence = if is_required(name) { "" } else { ", optional" };
        let text = description_text(member["description"].as_str().unwrap_or_default(), member);
        let _ = writeln!(table, "| `{name}` | {}{presence} | {text} |", type_text(member));
    }
    table
}

/// The sections of schemas: a table of members for each object, and one table of all other types.
pub(super) fn schema_sections<'a>(schemas: impl Iterator<Item = (&'a String, &'a Value)>) -> String {
    let (mut sections, mut types) = (String::new(), String::new());
    for (name, schema) in schemas {
        let description = schema["description"].as_str().unwrap_or_default();
        let id = anchor(&format!("schema {name}"));
        if schema["properties"].is_object() {
            let table = members_table(schema);
            let _ = write!(sections, "<a id=\"{id}\"></a>\n\n### {name}\n\n{description}\n\n{table}\n");
            continue;
        }
        // The description of the codes lists them.
        let values =
            if name == CODE { "one of the [codes](problems.md)".to_owned() } else { type_text(schema) };
        let summary = cell(description.split("\n\n").next().unwrap_or_default());
        let _ =
            writeln!(types, "| <a id=\"{id}\"></a>{name} | {values} | {summary}{} |", values_text(schema));
    }
    format!("{sections}### Other types\n\n| type | values | description |\n|---|---|---|\n{types}")
}

/// The descriptions of the values of an enumeration.
fn values_text(schema: &Value) -> String {
    let described = |value: &Value| {
        let text = value["description"].as_str()?;
        Some(format!(" `{}`: {}", plain(value.get("const")?), cell(text)))
    };
    schema["oneOf"].as_array().into_iter().flatten().filter_map(described).collect()
}
