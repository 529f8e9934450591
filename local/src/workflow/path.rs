//! Evaluates paths, templates and intrinsic functions. A subset of JSONPath: `$` followed by names. Pure.

use serde_json::{Map, Value};

/// The value of a template's field whose name ends in `.$`.
#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Path(Vec<String>),
    Text(String),
    Number(u64),
    Bool(bool),
    Intrinsic(String, Vec<Expression>),
    /// The current item of an inline map.
    Item,
}

/// The context object's path of an inline map's current item,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html>. No other path of it is
/// supported.
const ITEM: &str = "$$.Map.Item.Value";

/// The supported intrinsic functions, and the minimum number of arguments of each.
const INTRINSIC_FUNCTIONS: &[(&str, usize)] = &[
    ("States.Array", 1),
    ("States.Format", 1),
    ("States.StringSplit", 2),
    ("States.ArrayGetItem", 2),
    ("States.JsonMerge", 3),
];

/// The value at a path.
///
/// # Errors
/// The path is unsupported, or has no value.
pub(crate) fn resolve(path: &str, input: &Value) -> Result<Value, String> {
    let segments = parse_path(path)?;
    lookup(&segments, input).cloned().ok_or_else(|| format!("{path} has no value"))
}

/// A template filled in from `input`.
///
/// # Errors
/// A path without a value, or a function that cannot be computed.
pub(crate) fn fill(template: &Value, input: &Value) -> Result<Value, String> {
    fill_inner(template, input, None)
}

/// As [`fill`], within a map whose current item is `item`.
///
/// # Errors
/// As [`fill`].
pub(crate) fn fill_for_item(template: &Value, input: &Value, item: &Value) -> Result<Value, String> {
    fill_inner(template, input, Some(item))
}

fn fill_inner(template: &Value, input: &Value, item: Option<&Value>) -> Result<Value, String> {
    match template {
        Value::Object(members) => {
            let mut filled = Map::new();
            for (name, value) in members {
                let (name, value) = match (name.strip_suffix(".$"), value) {
                    (Some(name), Value::String(text)) => {
                        (name, evaluate(&parse_expression(text)?, input, item)?)
                    }
                    (Some(_), _) => return Err(format!("{name} is not a string")),
                    (None, value) => (name.as_str(), fill_inner(value, input, item)?),
                };
                filled.insert(name.to_owned(), value);
            }
            Ok(Value::Object(filled))
        }
        Value::Array(list) => list.iter().map(|value| fill_inner(value, input, item)).collect(),
        other => Ok(other.clone()),
    }
}

/// Checks that every expression of a template is supported.
///
/// # Errors
/// The first unsupported one.
pub(crate) fn check_template(template: &Value) -> Result<(), String> {
    match template {
        Value::Object(members) => {
            members.iter().try_for_each(|(name, value)| match (name.ends_with(".$"), value) {
                (true, Value::String(text)) => parse_expression(text).map(drop),
                (true, _) => Err(format!("{name} is not a string")),
                (false, value) => check_template(value),
            })
        }
        Value::Array(list) => list.iter().try_for_each(check_template),
        _ => Ok(()),
    }
}

/// Inserts `result` into `input` at a path, and creates missing objects on the way.
///
/// # Errors
/// The path is unsupported, or leads through a value that is not an object.
pub(crate) fn insert(path: &str, input: Value, result: Value) -> Result<Value, String> {
    let mut output = input;
    let mut target = &mut output;
    for name in parse_path(path)? {
        let object = target
            .as_object_mut()
            .ok_or_else(|| format!("{path} leads through a value that is not an object"))?;
        target = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    *target = result;
    Ok(output)
}

fn parse_path(path: &str) -> Result<Vec<String>, String> {
    let rest = path.strip_prefix('$').ok_or_else(|| format!("{path} is not a path"))?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let rest = rest.strip_prefix('.').ok_or_else(|| format!("the path {path} is not supported"))?;
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    rest.split('.')
        .map(|name| {
            if is_name(name) { Ok(name.to_owned()) } else { Err(format!("the path {path} is not supported")) }
        })
        .collect()
}

fn lookup<'a>(segments: &[String], input: &'a Value) -> Option<&'a Value> {
    segments.iter().try_fold(input, |value, name| value.get(name))
}

fn parse_expression(text: &str) -> Result<Expression, String> {
    let (expression, rest) = parse_prefix(text.trim())?;
    if rest.trim().is_empty() { Ok(expression) } else { Err(format!("{text}: unexpected {rest}")) }
}

fn parse_prefix(text: &str) -> Result<(Expression, &str), String> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('\'') {
        let (literal, rest) =
            inner.split_once('\'').ok_or_else(|| format!("{text}: a quote is not closed"))?;
        if literal.contains('\\') {
            return Err(format!("{text}: escapes are not supported"));
        }
        return Ok((Expression::Text(literal.to_owned()), rest));
    }
    let end = text.find(['(', ')', ',']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let word = word.trim();
    if let Some(arguments) = rest.strip_prefix('(') {
        let (_, min_arguments) = INTRINSIC_FUNCTIONS
            .iter()
            .find(|(name, _)| *name == word)
            .ok_or_else(|| format!("the function {word} is not supported"))?;
        let (list, rest) = parse_arguments(arguments)?;
        if list.len() < *min_arguments {
            return Err(format!("{word} requires {min_arguments} arguments"));
        }
        return Ok((Expression::Intrinsic(word.to_owned(), list), rest));
    }
    let expression = match word {
        "true" => Expression::Bool(true),
        "false" => Expression::Bool(false),
        ITEM => Expression::Item,
        word => match word.parse() {
            Ok(number) => Expression::Number(number),
            Err(_) => Expression::Path(parse_path(word)?),
        },
    };
    Ok((expression, rest))
}

fn parse_arguments(mut text: &str) -> Result<(Vec<Expression>, &str), String> {
    let mut list = Vec::new();
    loop {
        let (argument, rest) = parse_prefix(text)?;
        list.push(argument);
        let rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix(')') {
            return Ok((list, rest));
        }
        text = rest.strip_prefix(',').ok_or_else(|| format!("{rest}: a bracket is not closed"))?;
    }
}

fn evaluate(expression: &Expression, input: &Value, item: Option<&Value>) -> Result<Value, String> {
    Ok(match expression {
        Expression::Item => item.cloned().ok_or_else(|| format!("{ITEM} outside of a map"))?,
        Expression::Path(names) => {
            lookup(names, input).cloned().ok_or_else(|| format!("$.{} has no value", names.join(".")))?
        }
        Expression::Text(text) => text.clone().into(),
        Expression::Number(number) => (*number).into(),
        Expression::Bool(bool) => (*bool).into(),
        Expression::Intrinsic(name, arguments) => {
            let arguments: Result<Vec<Value>, String> =
                arguments.iter().map(|argument| evaluate(argument, input, item)).collect();
            call_intrinsic(name, &arguments?)?
        }
    })
}

/// <https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html>
fn call_intrinsic(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let error = || format!("{name} of {arguments:?}");
    Ok(match (name, arguments) {
        ("States.Format", [Value::String(format), values @ ..]) => {
            let parts: Vec<&str> = format.split("{}").collect();
            if parts.len() != values.len() + 1 {
                return Err(error());
            }
            let mut text = parts[0].to_owned();
            for (value, part) in values.iter().zip(&parts[1..]) {
                match value {
                    Value::String(value) => text.push_str(value),
                    value => text.push_str(&value.to_string()),
                }
                text.push_str(part);
            }
            text.into()
        }
        ("States.Array", values) => Value::Array(values.to_vec()),
        // Empty pieces are dropped, as on AWS.
        ("States.StringSplit", [Value::String(text), Value::String(separators)]) => text
            .split(|c| separators.contains(c))
            .filter(|piece| !piece.is_empty())
            .map(Value::from)
            .collect(),
        ("States.ArrayGetItem", [Value::Array(list), index]) => {
            let index = index.as_u64().and_then(|place| usize::try_from(place).ok()).ok_or_else(error)?;
            list.get(index).cloned().ok_or_else(error)?
        }
        ("States.JsonMerge", [Value::Object(left), Value::Object(right), Value::Bool(false)]) => {
            left.clone().into_iter().chain(right.clone()).collect::<Map<_, _>>().into()
        }
        _ => return Err(error()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fills_templates() {
        let input = json!({"a": {"b": [1]}, "key": "uploads/o/v", "etag": "e", "n": 7});
        for (template, expected) in [
            (
                json!({"x.$": "$.a.b", "y": {"z.$": "$.n"}, "list": [{"k.$": "$.key"}]}),
                json!({"x": [1], "y": {"z": 7}, "list": [{"k": "uploads/o/v"}]}),
            ),
            (
                json!({"v.$": "States.Format('{}-{}', States.ArrayGetItem(States.StringSplit($.key, '/'), 2), $.etag)"}),
                json!({"v": "v-e"}),
            ),
            (
                json!({"v.$": "States.JsonMerge($.a, $, false)"}),
                json!({"v": {"a": {"b": [1]}, "b": [1], "key": "uploads/o/v", "etag": "e", "n": 7}}),
            ),
            (json!({"all.$": "$"}), json!({"all": input})),
        ] {
            assert_eq!(check_template(&template), Ok(()), "{template}");
            assert_eq!(fill(&template, &input), Ok(expected), "{template}");
        }
    }

    #[test]
    fn map_item_is_only_defined_in_map() {
        let template = json!({"Items.$": "States.Array($$.Map.Item.Value)", "more.$": "$.more"});
        assert_eq!(check_template(&template), Ok(()));
        let input = json!({"more": 1});
        let expected = json!({"Items": [{"Key": "k"}], "more": 1});
        assert_eq!(fill_for_item(&template, &input, &json!({"Key": "k"})), Ok(expected));
        assert!(fill(&template, &input).is_err());
    }

    #[test]
    fn rejects_unknown_expressions() {
        for template in [
            json!({"a.$": "$.x[0]"}),
            json!({"a.$": "$..x"}),
            json!({"a.$": "$$.Execution.Id"}),
            json!({"a.$": "x"}),
            json!({"a.$": 1}),
            json!({"a.$": "States.UUID()"}),
            json!({"a.$": "States.Format('{}'"}),
            json!({"a.$": "States.StringSplit($.a)"}),
            json!({"a.$": "$.a $.b"}),
            json!({"a.$": "States.Format('\\', $.a)"}),
        ] {
            assert!(check_template(&template).is_err(), "{template}");
        }
        for template in [
            json!({"a.$": "$.missing"}),
            json!({"a.$": "States.ArrayGetItem(States.StringSplit('a/b', '/'), 2)"}),
            json!({"a.$": "States.Format('{}')"}),
            json!({"a.$": "States.JsonMerge('x', $, false)"}),
        ] {
            assert!(fill(&template, &json!({})).is_err(), "{template}");
        }
    }

    #[test]
    fn inserts_result_at_path() {
        assert_eq!(insert("$.a.b", json!({"x": 1}), json!(2)), Ok(json!({"x": 1, "a": {"b": 2}})));
        assert_eq!(insert("$", json!({"x": 1}), json!(2)), Ok(json!(2)));
        assert!(insert("$.x.y", json!({"x": 1}), json!(2)).is_err());
    }
}
