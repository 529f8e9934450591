//! Decides what is said about one call: its parameters, bodies, answers and problems.

use std::collections::BTreeMap;

use glimpse_contract::{Code, TRACEPARENT};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// How a type's schema is asked for, and put among the document's components.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody.
    Open,
    /// Whoever proves who they are.
    Caller,
    /// Whoever holds the upload token in the path.
    Holder,
}

/// A parameter in path, query or header.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) place: &'static str,
    pub(super) name: &'static str,
    pub(super) is_required: bool,
    pub(super) text: &'static str,
    pub(super) schema: Value,
}

impl Parameter {
    fn json(&self) -> Value {
        json!({ "name": self.name, "in": self.place, "required": self.is_required, "description": self.text,
            "schema": self.schema })
    }
}

/// One kind of content of a body or an answer.
#[derive(Debug, Clone)]
struct Content {
    media: &'static str,
    shape: Option<Shape>,
    /// Another type that it may be of.
    or: Option<Shape>,
    schema: Option<Value>,
    example: Option<Value>,
}

impl Content {
    fn json(&self, generator: &mut SchemaGenerator) -> Value {
        let mut content = Map::new();
        let mut of = |shape: Option<Shape>| shape.map(|shape| shape(generator).to_value());
        let schema = match (of(self.shape), of(self.or)) {
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

/// An answer that is no problem.
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    text: &'static str,
    contents: Vec<Content>,
    /// What the holder of an upload token gets instead of the JSON.
    for_holders: Option<Content>,
    headers: Vec<(&'static str, &'static str)>,
}

/// One call: a method and a path.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The method, in capitals. `GET` stands for `HEAD` too.
    pub method: &'static str,
    /// The path with its parameters in braces.
    pub path: String,
    pub(super) id: String,
    pub(super) access: Access,
    tag: &'static str,
    summary: &'static str,
    text: &'static str,
    parameters: Vec<Parameter>,
    bodies: Vec<Content>,
    may_be_empty: bool,
    /// Whether problems are shown to people.
    is_page: bool,
    answers: Vec<Answer>,
    problems: Vec<Code>,
}

impl Operation {
    /// A call that anybody may make who proves who they are.
    pub(super) fn new(method: &'static str, path: &str, id: &str, tag: &'static str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            id: id.to_owned(),
            access: Access::Caller,
            tag,
            summary: "",
            text: "",
            parameters: Vec::new(),
            bodies: Vec::new(),
            may_be_empty: false,
            is_page: false,
            answers: Vec::new(),
            problems: vec![Code::Internal],
        }
    }

    /// What it does, in one line and at length.
    pub(super) fn says(mut self, summary: &'static str, text: &'static str) -> Self {
        (self.summary, self.text) = (summary, text);
        self
    }

    /// Anybody may make it.
    pub(super) fn open(mut self) -> Self {
        self.access = Access::Open;
        self
    }

    /// A parameter of the path.
    pub(super) fn path(self, name: &'static str, text: &'static str, schema: Value) -> Self {
        self.with("path", name, true, text, schema)
    }

    /// A parameter of the query that may be left out.
    pub(super) fn query(self, name: &'static str, text: &'static str, schema: Value) -> Self {
        self.with("query", name, false, text, schema)
    }

    /// A parameter of the query that must be there.
    pub(super) fn needs(self, name: &'static str, text: &'static str, schema: Value) -> Self {
        self.with("query", name, true, text, schema)
    }

    /// A header of the request that may be left out.
    pub(super) fn header(self, name: &'static str, text: &'static str, schema: Value) -> Self {
        self.with("header", name, false, text, schema)
    }

    /// Something begins with it that can be part of a trace.
    pub(super) fn traced(self) -> Self {
        let text = "The trace that the upload becomes part of, as W3C Trace Context spells it: the video's `trace_id`. One that is \
                    malformed is passed over.";
        self.header(TRACEPARENT, text, json!({ "type": "string" }))
    }

    fn with(
        mut self,
        place: &'static str,
        name: &'static str,
        is_required: bool,
        text: &'static str,
        schema: Value,
    ) -> Self {
        self.parameters.push(Parameter { place, name, is_required, text, schema });
        self
    }

    /// A JSON body of that type.
    pub(super) fn takes<T: JsonSchema>(mut self, example: Value) -> Self {
        let shape: Shape = |generator| generator.subschema_for::<T>();
        let (media, shape) = ("application/json", Some(shape));
        self.bodies.push(Content { media, shape, or: None, schema: None, example: Some(example) });
        self
    }

    /// Its problems are pages.
    pub(super) fn shown_to_people(mut self) -> Self {
        self.is_page = true;
        self
    }

    /// The body may be left out.
    pub(super) fn or_nothing(mut self) -> Self {
        self.may_be_empty = true;
        self
    }

    /// A body of another kind.
    pub(super) fn takes_bytes(mut self, media: &'static str, schema: Value) -> Self {
        self.bodies.push(Content { media, shape: None, or: None, schema: Some(schema), example: None });
        self
    }

    /// An answer in JSON.
    pub(super) fn answers<T: JsonSchema>(
        self,
        status: u16,
        text: &'static str,
        example: &impl Serialize,
    ) -> Self {
        let example = serde_json::to_value(example).expect("our own types are plain data");
        let shape: Shape = |generator| generator.subschema_for::<T>();
        let content = Content {
            media: "application/json",
            shape: Some(shape),
            or: None,
            schema: None,
            example: Some(example),
        };
        self.answer(status, text, Some(content))
    }

    /// Another type that the answer that was described last may be of.
    pub(super) fn answers_also<T: JsonSchema>(mut self) -> Self {
        let shape: Shape = |generator| generator.subschema_for::<T>();
        let answer = self.answers.last_mut().expect("an answer comes before its other type");
        answer.contents.last_mut().expect("it has content").or = Some(shape);
        self
    }

    /// What the holder of an upload token gets instead of the answer that was described last.
    pub(super) fn for_holders<T: JsonSchema>(mut self, example: &impl Serialize) -> Self {
        let example = serde_json::to_value(example).expect("our own types are plain data");
        let shape: Shape = |generator| generator.subschema_for::<T>();
        let answer = self.answers.last_mut().expect("an answer comes before its other form");
        answer.for_holders = Some(Content {
            media: "application/json",
            shape: Some(shape),
            or: None,
            schema: None,
            example: Some(example),
        });
        self
    }

    /// Another type that the answer to the holder of an upload token may be of.
    pub(super) fn for_holders_also<T: JsonSchema>(mut self) -> Self {
        let shape: Shape = |generator| generator.subschema_for::<T>();
        let answer = self.answers.last_mut().expect("an answer comes before its other form");
        answer.for_holders.as_mut().expect("it has another form").or = Some(shape);
        self
    }

    /// An answer in JSON of any form.
    pub(super) fn answers_json(self, status: u16, text: &'static str) -> Self {
        let schema = Some(json!({ "type": "object" }));
        let content = Content { media: "application/json", shape: None, or: None, schema, example: None };
        self.answer(status, text, Some(content))
    }

    /// An answer of another kind.
    pub(super) fn answers_bytes(self, status: u16, text: &'static str, media: &'static str) -> Self {
        // OpenAPI 3.1 describes bytes by leaving the schema out; a text is one. Of events a schema would be that of each.
        let is_text = media.starts_with("text/") && media != "text/event-stream";
        let schema = is_text.then(|| json!({ "type": "string" }));
        self.answer(status, text, Some(Content { media, shape: None, or: None, schema, example: None }))
    }

    /// An answer without a body.
    pub(super) fn answers_nothing(self, status: u16, text: &'static str) -> Self {
        self.answer(status, text, None)
    }

    fn answer(mut self, status: u16, text: &'static str, content: Option<Content>) -> Self {
        match self.answers.iter_mut().find(|answer| answer.status == status) {
            Some(answer) => answer.contents.extend(content),
            None => self.answers.push(Answer {
                status,
                text,
                contents: content.into_iter().collect(),
                for_holders: None,
                headers: Vec::new(),
            }),
        }
        self
    }

    /// A header of the answer that was described last.
    pub(super) fn sends(mut self, name: &'static str, text: &'static str) -> Self {
        let answer = self.answers.last_mut().expect("an answer comes before its headers");
        answer.headers.push((name, text));
        self
    }

    /// What may go wrong, beside what may with every call.
    pub(super) fn problems(mut self, codes: &[Code]) -> Self {
        self.problems.extend(codes);
        self
    }

    /// The same call for whoever holds an upload token, which stands before its path.
    pub(super) fn with_token(&self) -> Self {
        let mut twin = self.clone();
        twin.path = format!("/u/{{token}}{}", self.path);
        twin.id = format!("{}WithToken", self.id);
        twin.access = Access::Holder;
        for answer in &mut twin.answers {
            if let (Some(content), Some(first)) = (answer.for_holders.take(), answer.contents.first_mut()) {
                *first = content;
            }
        }
        let text = "The upload token: what it does not say stands in the answer to `GET /u/{token}/api/me`.";
        twin.parameters.insert(
            0,
            Parameter {
                place: "path",
                name: "token",
                is_required: true,
                text,
                schema: json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+\\.[A-Za-z0-9_-]+$" }),
            },
        );
        twin
    }

    /// Everything that may go wrong with it.
    pub fn all_problems(&self) -> Vec<Code> {
        let mut codes = self.problems.clone();
        if self.access != Access::Open {
            codes.extend([Code::Unauthorized, Code::Busy, Code::NoAccess, Code::Upstream]);
        }
        // A page of another origin that makes a change with this browser's cookie.
        if self.access == Access::Caller && self.method != "GET" {
            codes.push(Code::ForbiddenOrigin);
        }
        codes.sort_by_key(|code| (code.status(), code.as_str()));
        codes.dedup();
        codes
    }

    /// The Operation Object. Types of bodies are put among one generator's components, types of answers among another's.
    pub(super) fn json(&self, bodies: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Value {
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": self.parameters.iter().map(Parameter::json).collect::<Vec<_>>(),
            "responses": self.responses(answers),
        });
        if !self.text.is_empty() {
            operation["description"] = self.text.into();
        }
        if !self.bodies.is_empty() {
            operation["requestBody"] =
                json!({ "required": !self.may_be_empty, "content": contents(&self.bodies, bodies) });
        }
        operation["security"] = match self.access {
            Access::Caller => json!([{ "bearer": [] }, { "session": [] }]),
            Access::Open | Access::Holder => json!([]),
        };
        operation
    }

    fn responses(&self, generator: &mut SchemaGenerator) -> Value {
        let mut responses: BTreeMap<String, Value> = BTreeMap::new();
        for answer in &self.answers {
            let mut response = json!({ "description": answer.text });
            if !answer.contents.is_empty() {
                response["content"] = contents(&answer.contents, generator);
            }
            let header = |(name, text): &(&str, &str)| {
                ((*name).to_owned(), json!({ "description": text, "schema": { "type": "string" } }))
            };
            if !answer.headers.is_empty() {
                response["headers"] = Value::Object(answer.headers.iter().map(header).collect());
            }
            responses.insert(answer.status.to_string(), response);
        }
        let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
        for code in self.all_problems() {
            by_status.entry(code.status()).or_default().push(code);
        }
        for (status, codes) in by_status {
            let clash = responses.insert(status.to_string(), super::problem::response(&codes, self.is_page));
            assert!(clash.is_none(), "{} answers {status} both well and with a problem", self.id);
        }
        json!(responses)
    }
}

fn contents(contents: &[Content], generator: &mut SchemaGenerator) -> Value {
    contents
        .iter()
        .map(|content| (content.media.to_owned(), content.json(generator)))
        .collect::<Map<_, _>>()
        .into()
}
