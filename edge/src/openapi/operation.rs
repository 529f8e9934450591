//! A builder of OpenAPI operations: parameters, bodies, responses and problems.

use std::collections::BTreeMap;

use glimpse_contract::{Code, TRACEPARENT};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::example;

/// Generates the schema of a type among the components of the document.
pub(super) type SchemaFn = fn(&mut SchemaGenerator) -> Schema;

/// The required authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecurityRequirement {
    /// None.
    Public,
    /// An authenticated caller.
    Caller,
    /// An upload token in the path.
    TokenHolder,
}

/// A parameter in path, query or header.
#[derive(Debug, Clone)]
pub(super) struct ParameterSpec {
    pub(super) location: &'static str,
    pub(super) name: &'static str,
    pub(super) is_required: bool,
    pub(super) description: &'static str,
    pub(super) schema: Value,
    /// A value that exists, for a request that works; `None` leaves the parameter out of the request example.
    pub(super) example: Option<Value>,
}

impl ParameterSpec {
    fn to_json(&self) -> Value {
        let mut parameter = json!({ "name": self.name, "in": self.location, "required": self.is_required,
            "description": self.description, "schema": self.schema });
        if let Some(example) = &self.example {
            parameter["example"] = example.clone();
        }
        parameter
    }
}

/// A media type of a body or a response.
#[derive(Debug, Clone)]
struct MediaType {
    name: &'static str,
    schema_fn: Option<SchemaFn>,
    /// An alternative schema.
    alternative: Option<SchemaFn>,
    schema: Option<Value>,
    example: Option<Value>,
}

impl MediaType {
    fn to_json(&self, generator: &mut SchemaGenerator) -> Value {
        let mut content = Map::new();
        let mut schema_of = |shape: Option<SchemaFn>| shape.map(|shape| shape(generator).to_value());
        let schema = match (schema_of(self.schema_fn), schema_of(self.alternative)) {
            (Some(shape), Some(or)) => Some(json!({ "anyOf": [shape, or] })),
            (shape, _) => shape.or_else(|| self.schema.clone()),
        };
        if let Some(schema) = schema {
            content.insert("schema".into(), schema);
        }
        if let Some(example) = &self.example {
            content.insert("example".into(), example.clone());
        }
        content.into()
    }
}

/// A response that is not a problem.
#[derive(Debug, Clone)]
struct ResponseSpec {
    status: u16,
    description: &'static str,
    contents: Vec<MediaType>,
    /// The content for a caller with only an upload token, instead of the JSON.
    for_token_holders: Option<MediaType>,
    headers: Vec<(&'static str, &'static str)>,
}

/// An operation: a method and a path.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The method, in capitals. `GET` includes `HEAD`.
    pub method: &'static str,
    /// The path with its parameters in braces.
    pub path: String,
    pub(super) id: String,
    pub(super) security: SecurityRequirement,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: Vec<ParameterSpec>,
    bodies: Vec<MediaType>,
    may_be_empty: bool,
    /// Whether problems are HTML pages.
    is_html: bool,
    responses: Vec<ResponseSpec>,
    problems: Vec<Code>,
}

impl Operation {
    /// An operation for authenticated callers.
    pub(super) fn new(method: &'static str, path: &str, id: &str, tag: &'static str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            id: id.to_owned(),
            security: SecurityRequirement::Caller,
            tag,
            summary: "",
            description: "",
            parameters: Vec::new(),
            bodies: Vec::new(),
            may_be_empty: false,
            is_html: false,
            responses: Vec::new(),
            problems: vec![Code::Internal],
        }
    }

    /// Sets summary and description.
    pub(super) fn describe(mut self, summary: &'static str, text: &'static str) -> Self {
        (self.summary, self.description) = (summary, text);
        self
    }

    /// Requires no authentication.
    pub(super) fn public(mut self) -> Self {
        self.security = SecurityRequirement::Public;
        self
    }

    /// Adds a path parameter.
    pub(super) fn path_parameter(self, name: &'static str, text: &'static str, schema: Value) -> Self {
        self.add_parameter("path", name, true, text, schema).example(example::path_value(name))
    }

    /// Sets the example of the last parameter.
    pub(super) fn example(mut self, value: Value) -> Self {
        self.parameters.last_mut().expect("a parameter precedes its example").example = Some(value);
        self
    }

    /// Sets the default of the last parameter.
    pub(super) fn default_value(mut self, value: Value) -> Self {
        self.parameters.last_mut().expect("a parameter precedes its default").schema["default"] = value;
        self
    }

    /// Adds an optional query parameter.
    pub(super) fn query_parameter(self, name: &'static str, text: &'static str, schema: Value) -> Self {
        self.add_parameter("query", name, false, text, schema)
    }

    /// Adds a required query parameter.
    pub(super) fn required_query_parameter(
        self,
        name: &'static str,
        text: &'static str,
        schema: Value,
    ) -> Self {
        self.add_parameter("query", name, true, text, schema)
    }

    /// Adds an optional header.
    pub(super) fn header_parameter(self, name: &'static str, text: &'static str, schema: Value) -> Self {
        self.add_parameter("header", name, false, text, schema)
    }

    /// Adds the header of a trace, for operations that create an upload.
    pub(super) fn traceparent_header(self) -> Self {
        let text = "The trace of the upload, in the format of W3C Trace Context; it becomes the video's `trace_id`. A malformed \
                    value is ignored.";
        self.header_parameter(TRACEPARENT, text, json!({ "type": "string" }))
    }

    fn add_parameter(
        mut self,
        location: &'static str,
        name: &'static str,
        is_required: bool,
        description: &'static str,
        schema: Value,
    ) -> Self {
        let example = None;
        self.parameters.push(ParameterSpec { location, name, is_required, description, schema, example });
        self
    }

    /// Adds a JSON body of that type.
    pub(super) fn json_body<T: JsonSchema>(mut self, example: Value) -> Self {
        let schema_fn: SchemaFn = |generator| generator.subschema_for::<T>();
        let (media, shape) = ("application/json", Some(schema_fn));
        self.bodies.push(MediaType {
            name: media,
            schema_fn: shape,
            alternative: None,
            schema: None,
            example: Some(example),
        });
        self
    }

    /// Problems are HTML pages.
    pub(super) fn html(mut self) -> Self {
        self.is_html = true;
        self
    }

    /// Makes the body optional.
    pub(super) fn optional_body(mut self) -> Self {
        self.may_be_empty = true;
        self
    }

    /// Adds a body of another media type.
    pub(super) fn binary_body(mut self, media_type: &'static str, schema: Value) -> Self {
        self.bodies.push(MediaType {
            name: media_type,
            schema_fn: None,
            alternative: None,
            schema: Some(schema),
            example: None,
        });
        self
    }

    /// Adds a JSON response.
    pub(super) fn json_response<T: JsonSchema>(
        self,
        status: u16,
        text: &'static str,
        example: &impl Serialize,
    ) -> Self {
        let example = serde_json::to_value(example).expect("our own types are plain data");
        let schema_fn: SchemaFn = |generator| generator.subschema_for::<T>();
        let content = MediaType {
            name: "application/json",
            schema_fn: Some(schema_fn),
            alternative: None,
            schema: None,
            example: Some(example),
        };
        self.add_response(status, text, Some(content))
    }

    /// Adds an alternative schema to the last response.
    pub(super) fn or_json_response<T: JsonSchema>(mut self) -> Self {
        let schema_fn: SchemaFn = |generator| generator.subschema_for::<T>();
        let response = self.responses.last_mut().expect("a response precedes its alternative");
        response.contents.last_mut().expect("the response has content").alternative = Some(schema_fn);
        self
    }

    /// Adds the content of the last response for a caller with only an upload token.
    pub(super) fn token_holder_response<T: JsonSchema>(mut self, example: &impl Serialize) -> Self {
        let example = serde_json::to_value(example).expect("our own types are plain data");
        let schema_fn: SchemaFn = |generator| generator.subschema_for::<T>();
        let response = self.responses.last_mut().expect("a response precedes its content for upload tokens");
        response.for_token_holders = Some(MediaType {
            name: "application/json",
            schema_fn: Some(schema_fn),
            alternative: None,
            schema: None,
            example: Some(example),
        });
        self
    }

    /// Adds an alternative schema for a caller with only an upload token.
    pub(super) fn or_token_holder_response<T: JsonSchema>(mut self) -> Self {
        let schema_fn: SchemaFn = |generator| generator.subschema_for::<T>();
        let response = self.responses.last_mut().expect("a response precedes its content for upload tokens");
        response
            .for_token_holders
            .as_mut()
            .expect("the response has content for upload tokens")
            .alternative = Some(schema_fn);
        self
    }

    /// Adds a JSON response of any shape.
    pub(super) fn object_response(self, status: u16, text: &'static str) -> Self {
        let schema = Some(json!({ "type": "object" }));
        let content =
            MediaType { name: "application/json", schema_fn: None, alternative: None, schema, example: None };
        self.add_response(status, text, Some(content))
    }

    /// Sets the example of the last response.
    pub(super) fn response_example(mut self, example: Value) -> Self {
        let response = self.responses.last_mut().expect("a response precedes its example");
        response.contents.last_mut().expect("the response has content").example = Some(example);
        self
    }

    /// Adds a response of another media type.
    pub(super) fn binary_response(self, status: u16, text: &'static str, media_type: &'static str) -> Self {
        // OpenAPI 3.1 omits the schema for binary content; text has one. For an event stream, the schema would be that
        // of an event.
        let is_text = (media_type.starts_with("text/") && media_type != "text/event-stream")
            || media_type == "application/vnd.apple.mpegurl";
        let schema = is_text.then(|| json!({ "type": "string" }));
        self.add_response(
            status,
            text,
            Some(MediaType { name: media_type, schema_fn: None, alternative: None, schema, example: None }),
        )
    }

    /// Adds a response without a body.
    pub(super) fn empty_response(self, status: u16, text: &'static str) -> Self {
        self.add_response(status, text, None)
    }

    fn add_response(mut self, status: u16, text: &'static str, content: Option<MediaType>) -> Self {
        match self.responses.iter_mut().find(|answer| answer.status == status) {
            Some(answer) => answer.contents.extend(content),
            None => self.responses.push(ResponseSpec {
                status,
                description: text,
                contents: content.into_iter().collect(),
                for_token_holders: None,
                headers: Vec::new(),
            }),
        }
        self
    }

    /// Adds a header to the last response.
    pub(super) fn response_header(mut self, name: &'static str, text: &'static str) -> Self {
        let response = self.responses.last_mut().expect("a response precedes its headers");
        response.headers.push((name, text));
        self
    }

    /// Adds problems beside those of every operation.
    pub(super) fn problems(mut self, codes: &[Code]) -> Self {
        self.problems.extend(codes);
        self
    }

    /// The same operation with an upload token before its path.
    pub(super) fn with_token(&self) -> Self {
        let mut operation = self.clone();
        operation.path = format!("/u/{{token}}{}", self.path);
        operation.id = format!("{}WithToken", self.id);
        operation.security = SecurityRequirement::TokenHolder;
        for response in &mut operation.responses {
            if let (Some(content), Some(first)) =
                (response.for_token_holders.take(), response.contents.first_mut())
            {
                *first = content;
            }
        }
        let text = "The upload token. `GET /u/{token}/api/me` returns its limits, including the defaults.";
        operation.parameters.insert(
            0,
            ParameterSpec {
                location: "path",
                name: "token",
                is_required: true,
                description: text,
                schema: json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$" }),
                example: Some(example::path_value("token")),
            },
        );
        operation
    }

    /// The status of the response to the request example: the first described one, except that for a client with a
    /// current copy.
    ///
    /// # Panics
    /// If no other response is described.
    pub(super) fn example_status(&self) -> u16 {
        let mut statuses = self.responses.iter().map(|response| response.status);
        statuses.find(|status| *status != 304).expect("an operation has a response")
    }

    /// All problems of the operation.
    pub fn all_problems(&self) -> Vec<Code> {
        let mut codes = self.problems.clone();
        if self.security != SecurityRequirement::Public {
            codes.extend([Code::Unauthorized, Code::Busy, Code::NoAccess, Code::Upstream]);
        }
        // A state-changing request with this browser's cookie from a page of another origin.
        if self.security == SecurityRequirement::Caller && self.method != "GET" {
            codes.push(Code::ForbiddenOrigin);
        }
        codes.sort_by_key(|code| (code.status(), code.as_str()));
        codes.dedup();
        codes
    }

    /// The Operation Object. Types of bodies are components of one generator, types of responses of another.
    pub(super) fn to_json(&self, bodies: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Value {
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": self.parameters.iter().map(ParameterSpec::to_json).collect::<Vec<_>>(),
            "responses": self.responses(answers),
        });
        if !self.description.is_empty() {
            operation["description"] = self.description.into();
        }
        if !self.bodies.is_empty() {
            operation["requestBody"] =
                json!({ "required": !self.may_be_empty, "content": content_json(&self.bodies, bodies) });
        }
        match self.security {
            // The document's default: `caller_security`.
            SecurityRequirement::Caller => {}
            SecurityRequirement::Public | SecurityRequirement::TokenHolder => {
                operation["security"] = json!([]);
            }
        }
        operation
    }

    fn responses(&self, generator: &mut SchemaGenerator) -> Value {
        let mut responses: BTreeMap<String, Value> = BTreeMap::new();
        for response_spec in &self.responses {
            let mut response = json!({ "description": response_spec.description });
            if !response_spec.contents.is_empty() {
                response["content"] = content_json(&response_spec.contents, generator);
            }
            let header = |(name, text): &(&str, &str)| {
                ((*name).to_owned(), json!({ "description": text, "schema": { "type": "string" } }))
            };
            if !response_spec.headers.is_empty() {
                response["headers"] = Value::Object(response_spec.headers.iter().map(header).collect());
            }
            responses.insert(response_spec.status.to_string(), response);
        }
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in self.all_problems() {
            by_status.entry(code.status()).or_default().push(code);
        }
        for (status, codes) in by_status {
            let clash =
                responses.insert(status.to_string(), super::problem::problem_response(&codes, self.is_html));
            assert!(clash.is_none(), "{} returns {status} both as a success and as a problem", self.id);
        }
        json!(responses)
    }
}

fn content_json(contents: &[MediaType], generator: &mut SchemaGenerator) -> Value {
    contents
        .iter()
        .map(|content| (content.name.to_owned(), content.to_json(generator)))
        .collect::<Map<_, _>>()
        .into()
}
