//! The curl command of an operation's request example.

use serde_json::{Map, Value};

use super::schema::plain;
use crate::s3::sigv4::encode_query_value;

/// The longest JSON body on one line, in characters.
const MAX_INLINE_BODY: usize = 60;

/// An operation's request example.
pub(super) struct RequestExample<'a> {
    /// The URL of the deployment.
    pub(super) origin: &'a str,
    pub(super) method: &'a str,
    /// The path with its parameters in braces.
    pub(super) path: &'a str,
    /// The parameters, without references.
    pub(super) parameters: &'a [&'a Value],
    /// Whether the request needs a bearer token.
    pub(super) is_authenticated: bool,
    /// The media type of the response; empty if it has no body.
    pub(super) response_type: &'a str,
}

impl RequestExample<'_> {
    /// The commands with each of these bodies that has an example, with their media types; one without a body if there
    /// is none.
    pub(super) fn commands(&self, contents: Option<&Map<String, Value>>) -> Vec<(String, String)> {
        let Some(contents) = contents else { return vec![(String::new(), self.command("", &[]))] };
        let is_only = contents.len() == 1;
        let with = |(media_type, content): (&String, &Value)| {
            Some((media_type.clone(), self.command_with(media_type, content, is_only)?))
        };
        contents.iter().filter_map(with).collect()
    }

    /// The command with a body; `None` for a file that is one of several kinds of bodies: another operation describes
    /// how to send it.
    fn command_with(&self, media_type: &str, content: &Value, is_only: bool) -> Option<String> {
        if media_type == "multipart/form-data" {
            return Some(self.command("", &form_fields(&content["schema"])));
        }
        if let Some(example) = content.get("example") {
            let body = json_text(example).replace('\'', "'\\''");
            let header = format!("-H 'Content-Type: {media_type}'");
            return Some(self.command("", &[header, format!("-d '{body}'")]));
        }
        is_only.then(|| self.command(" -T clip.mp4", &[]))
    }

    /// A command with the option that sends a file, if any, and the options of the body.
    fn command(&self, file_option: &str, body_options: &[String]) -> String {
        // The method that curl selects by itself.
        let implied = match (file_option.is_empty(), body_options.is_empty()) {
            (false, _) => "PUT",
            (true, false) => "POST",
            (true, true) => "GET",
        };
        let method = if self.method == implied { String::new() } else { format!(" -X {}", self.method) };
        let mut lines = vec![format!("curl{}{method}{file_option} {}", self.output_option(), self.url())];
        if self.is_authenticated {
            lines.push("-H \"Authorization: Bearer $TOKEN\"".to_owned());
        }
        lines.extend(self.with_example("header").map(|(name, value)| format!("-H '{name}: {value}'")));
        lines.extend_from_slice(body_options);
        lines.join(" \\\n  ")
    }

    /// The option that shows the headers of a response without a body, or stores a response that is no text.
    fn output_option(&self) -> String {
        match self.response_type.split_once('/') {
            None => " -i".to_owned(),
            Some(("image" | "video", _)) => {
                format!(" -o {}", self.path.rsplit('/').next().unwrap_or_default())
            }
            Some(("text", kind)) if kind.starts_with("event-stream") => " -N".to_owned(),
            Some(_) => String::new(),
        }
    }

    fn url(&self) -> String {
        let path = self
            .with_example("path")
            .fold(self.path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), &value));
        let encode = |value: &str| encode_query_value(value).replace("%2F", "/").replace("%3A", ":");
        let query: Vec<String> =
            self.with_example("query").map(|(name, value)| format!("{name}={}", encode(&value))).collect();
        if query.is_empty() {
            return format!("{}{path}", self.origin);
        }
        format!("'{}{path}?{}'", self.origin, query.join("&"))
    }

    /// Names and values of the parameters with an example, by their place in the request.
    fn with_example(&self, place: &str) -> impl Iterator<Item = (&str, String)> {
        self.parameters
            .iter()
            .filter(move |parameter| parameter["in"] == place)
            .filter_map(|parameter| Some((parameter["name"].as_str()?, plain(parameter.get("example")?))))
    }
}

/// The options for the fields of a form that have examples, and for its file, which is last.
fn form_fields(schema: &Value) -> Vec<String> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let (files, fields): (Vec<_>, Vec<_>) =
        properties.partition(|(_, property)| property.get("contentMediaType").is_some());
    let field = |(name, property): (&String, &Value)| {
        let value = property["examples"].get(0)?;
        Some(format!("-F '{name}={}'", plain(value)))
    };
    let file = |(name, _): (&String, &Value)| format!("-F {name}=@clip.mp4");
    fields.into_iter().filter_map(field).chain(files.into_iter().map(file)).collect()
}

/// JSON as the argument of an option: on one line if it is short.
fn json_text(value: &Value) -> String {
    let compact = value.to_string();
    if compact.len() <= MAX_INLINE_BODY {
        return compact;
    }
    let pretty = serde_json::to_string_pretty(value).unwrap_or(compact);
    pretty.replace('\n', "\n  ")
}
