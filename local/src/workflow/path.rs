//! Decides what a path, a template or an intrinsic function comes to. A subset of JSONPath: `$` and names behind it. Pure.

use serde_json::{Map, Value};

/// What stands in a template behind a name that ends in `.$`.
#[derive(Debug, Clone, PartialEq)]
enum Expression {
    Path(Vec<String>),
    Text(String),
    Number(u64),
    Bool(bool),
    Call(String, Vec<Expression>),
    /// What an inline map is at.
    Item,
}

/// How the context object names what an inline map is at,
/// <https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html>. Nothing else of it is known here.
const ITEM: &str = "$$.Map.Item.Value";

/// The intrinsic functions that are known here, and how many arguments each takes at least.
const FUNCTIONS: &[(&str, usize)] = &[
    ("States.Array", 1),
    ("States.Format", 1),
    ("States.StringSplit", 2),
    ("States.ArrayGetItem", 2),
    ("States.JsonMerge", 3),
];

/// What a path names.
///
/// # Errors
/// It is none that is known here, or there is nothing.
pub(crate) fn find(path: &str, input: &Value) -> Result<Value, String> {
    let names = names(path)?;
    walk(&names, input).cloned().ok_or_else(|| format!("there is nothing at {path}"))
}

/// A template filled in from `input`.
///
/// # Errors
/// A path that leads nowhere, or a function that cannot be computed.
pub(crate) fn filled(template: &Value, input: &Value) -> Result<Value, String> {
    filled_of(template, input, None)
}

/// As [`filled`], in a map that is at `item`.
///
/// # Errors
/// As [`filled`].
pub(crate) fn filled_of_item(template: &Value, input: &Value, item: &Value) -> Result<Value, String> {
    filled_of(template, input, Some(item))
}

fn filled_of(template: &Value, input: &Value, item: Option<&Value>) -> Result<Value, String> {
    match template {
        Value::Object(members) => {
            let mut filled_in = Map::new();
            for (name, value) in members {
                let (name, value) = match (name.strip_suffix(".$"), value) {
                    (Some(name), Value::String(text)) => (name, evaluate(&parse(text)?, input, item)?),
                    (Some(_), _) => return Err(format!("{name} is no text")),
                    (None, value) => (name.as_str(), filled_of(value, input, item)?),
                };
                filled_in.insert(name.to_owned(), value);
            }
            Ok(Value::Object(filled_in))
        }
        Value::Array(list) => list.iter().map(|value| filled_of(value, input, item)).collect(),
        other => Ok(other.clone()),
    }
}

/// Whether every expression of a template is one that is known here.
///
/// # Errors
/// What is not.
pub(crate) fn check(template: &Value) -> Result<(), String> {
    match template {
        Value::Object(members) => {
            members.iter().try_for_each(|(name, value)| match (name.ends_with(".$"), value) {
                (true, Value::String(text)) => parse(text).map(drop),
                (true, _) => Err(format!("{name} is no text")),
                (false, value) => check(value),
            })
        }
        Value::Array(list) => list.iter().try_for_each(check),
        _ => Ok(()),
    }
}

/// `result` put into `input` at a path; what is missing on the way is made.
///
/// # Errors
/// The path is none that is known here, or leads through what is no object.
pub(crate) fn put(path: &str, input: Value, result: Value) -> Result<Value, String> {
    let mut whole = input;
    let mut place = &mut whole;
    for name in names(path)? {
        let object =
            place.as_object_mut().ok_or_else(|| format!("{path} leads through what is no object"))?;
        place = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    }
    *place = result;
    Ok(whole)
}

fn names(path: &str) -> Result<Vec<String>, String> {
    let rest = path.strip_prefix('$').ok_or_else(|| format!("{path} is no path"))?;
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let rest = rest.strip_prefix('.').ok_or_else(|| format!("the path {path} is not known here"))?;
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    rest.split('.')
        .map(|name| {
            if is_name(name) {
                Ok(name.to_owned())
            } else {
                Err(format!("the path {path} is not known here"))
            }
        })
        .collect()
}

fn walk<'a>(names: &[String], input: &'a Value) -> Option<&'a Value> {
    names.iter().try_fold(input, |value, name| value.get(name))
}

fn parse(text: &str) -> Result<Expression, String> {
    let (expression, rest) = expression(text.trim())?;
    if rest.trim().is_empty() { Ok(expression) } else { Err(format!("{text}: what is {rest}?")) }
}

fn expression(text: &str) -> Result<(Expression, &str), String> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('\'') {
        let (quoted, rest) = inner.split_once('\'').ok_or_else(|| format!("{text}: a quote is open"))?;
        if quoted.contains('\\') {
            return Err(format!("{text}: escapes are not known here"));
        }
        return Ok((Expression::Text(quoted.to_owned()), rest));
    }
    let end = text.find(['(', ')', ',']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let word = word.trim();
    if let Some(arguments) = rest.strip_prefix('(') {
        let (_, least) = FUNCTIONS
            .iter()
            .find(|(name, _)| *name == word)
            .ok_or_else(|| format!("the function {word} is not known here"))?;
        let (list, rest) = arguments_of(arguments)?;
        if list.len() < *least {
            return Err(format!("{word} wants {least} arguments"));
        }
        return Ok((Expression::Call(word.to_owned(), list), rest));
    }
    let found = match word {
        "true" => Expression::Bool(true),
        "false" => Expression::Bool(false),
        ITEM => Expression::Item,
        word => match word.parse() {
            Ok(number) => Expression::Number(number),
            Err(_) => Expression::Path(names(word)?),
        },
    };
    Ok((found, rest))
}

fn arguments_of(mut text: &str) -> Result<(Vec<Expression>, &str), String> {
    let mut list = Vec::new();
    loop {
        let (argument, rest) = expression(text)?;
        list.push(argument);
        let rest = rest.trim_start();
        if let Some(rest) = rest.strip_prefix(')') {
            return Ok((list, rest));
        }
        text = rest.strip_prefix(',').ok_or_else(|| format!("{rest}: a bracket is open"))?;
    }
}

fn evaluate(expression: &Expression, input: &Value, item: Option<&Value>) -> Result<Value, String> {
    Ok(match expression {
        Expression::Item => item.cloned().ok_or_else(|| format!("{ITEM} outside of a map"))?,
        Expression::Path(names) => {
            walk(names, input).cloned().ok_or_else(|| format!("there is nothing at $.{}", names.join(".")))?
        }
        Expression::Text(text) => text.clone().into(),
        Expression::Number(number) => (*number).into(),
        Expression::Bool(bool) => (*bool).into(),
        Expression::Call(name, arguments) => {
            let arguments: Result<Vec<Value>, String> =
                arguments.iter().map(|argument| evaluate(argument, input, item)).collect();
            call(name, &arguments?)?
        }
    })
}

/// <https://docs.aws.amazon.com/step-functions/latest/dg/intrinsic-functions.html>
fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let wrong = || format!("{name} of {arguments:?}");
    Ok(match (name, arguments) {
        ("States.Format", [Value::String(format), values @ ..]) => {
            let parts: Vec<&str> = format.split("{}").collect();
            if parts.len() != values.len() + 1 {
                return Err(wrong());
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
        // Empty pieces are left out, as AWS does.
        ("States.StringSplit", [Value::String(text), Value::String(at)]) => {
            text.split(|c| at.contains(c)).filter(|piece| !piece.is_empty()).map(Value::from).collect()
        }
        ("States.ArrayGetItem", [Value::Array(list), place]) => {
            let place = place.as_u64().and_then(|place| usize::try_from(place).ok()).ok_or_else(wrong)?;
            list.get(place).cloned().ok_or_else(wrong)?
        }
        ("States.JsonMerge", [Value::Object(one), Value::Object(other), Value::Bool(false)]) => {
            one.clone().into_iter().chain(other.clone()).collect::<Map<_, _>>().into()
        }
        _ => return Err(wrong()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_filled_in() {
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
            assert_eq!(check(&template), Ok(()), "{template}");
            assert_eq!(filled(&template, &input), Ok(expected), "{template}");
        }
    }

    #[test]
    fn an_item_of_a_map_is_known_in_a_map_alone() {
        let template = json!({"Items.$": "States.Array($$.Map.Item.Value)", "more.$": "$.more"});
        assert_eq!(check(&template), Ok(()));
        let input = json!({"more": 1});
        let expected = json!({"Items": [{"Key": "k"}], "more": 1});
        assert_eq!(filled_of_item(&template, &input, &json!({"Key": "k"})), Ok(expected));
        assert!(filled(&template, &input).is_err());
    }

    #[test]
    fn what_is_not_known_is_an_error() {
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
            assert!(check(&template).is_err(), "{template}");
        }
        for template in [
            json!({"a.$": "$.missing"}),
            json!({"a.$": "States.ArrayGetItem(States.StringSplit('a/b', '/'), 2)"}),
            json!({"a.$": "States.Format('{}')"}),
            json!({"a.$": "States.JsonMerge('x', $, false)"}),
        ] {
            assert!(filled(&template, &json!({})).is_err(), "{template}");
        }
    }

    #[test]
    fn results_are_put_where_they_belong() {
        assert_eq!(put("$.a.b", json!({"x": 1}), json!(2)), Ok(json!({"x": 1, "a": {"b": 2}})));
        assert_eq!(put("$", json!({"x": 1}), json!(2)), Ok(json!(2)));
        assert!(put("$.x.y", json!({"x": 1}), json!(2)).is_err());
    }
}
