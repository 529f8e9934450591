//! Parses and validates state machines. Unknown fields, unreachable states and names of missing states are errors here,
//! instead of failures of an execution.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thiserror::Error;

use super::path;
use super::retry::Retrier;

/// The reason why a definition is rejected.
#[derive(Debug, Error)]
pub enum DefinitionError {
    /// It is not JSON, or has an unsupported field or kind of state.
    #[error("unsupported state machine: {0}")]
    Parse(#[from] serde_json::Error),
    /// It is inconsistent.
    #[error("{0}")]
    Invalid(String),
}

/// A state machine, or the inner one of a state.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct StateMachine {
    #[serde(default)]
    comment: Option<String>,
    #[serde(default)]
    query_language: Option<String>,
    pub(crate) start_at: String,
    pub(crate) states: BTreeMap<String, State>,
    #[serde(default)]
    pub(crate) timeout_seconds: Option<u64>,
    #[serde(default)]
    processor_config: Option<ProcessorConfig>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct ProcessorConfig {
    mode: String,
    #[serde(default)]
    execution_type: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "Type", deny_unknown_fields)]
pub(crate) enum State {
    Task(TaskState),
    Parallel(ParallelState),
    Choice(ChoiceState),
    Pass(PassState),
    Map(Box<MapState>),
    Succeed {
        #[serde(default, rename = "Comment")]
        _comment: Option<IgnoredAny>,
    },
    Fail(FailState),
}

/// The place of a state's result in its input: `ResultPath`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ResultPath {
    /// Replaces the input: `$`, or no `ResultPath`.
    #[default]
    Replace,
    /// Discarded: `null`.
    Discard,
    /// Inserted at this path.
    Path(String),
}

impl<'de> Deserialize<'de> for ResultPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<String>::deserialize(deserializer)? {
            None => Self::Discard,
            Some(path) if path == "$" => Self::Replace,
            Some(path) => Self::Path(path),
        })
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct TaskState {
    #[serde(default, rename = "Comment")]
    _comment: Option<IgnoredAny>,
    pub(crate) resource: String,
    pub(crate) parameters: Value,
    #[serde(default)]
    pub(crate) result_selector: Option<Value>,
    #[serde(default)]
    pub(crate) result_path: ResultPath,
    #[serde(default)]
    pub(crate) output_path: Option<String>,
    /// Required here: a task without a timeout is a mistake.
    pub(crate) timeout_seconds: u64,
    #[serde(default)]
    pub(crate) retry: Vec<Retrier>,
    #[serde(default)]
    pub(crate) catch: Vec<Catcher>,
    #[serde(default)]
    pub(crate) next: Option<String>,
    #[serde(default)]
    end: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct ParallelState {
    #[serde(default, rename = "Comment")]
    _comment: Option<IgnoredAny>,
    pub(crate) branches: Vec<StateMachine>,
    #[serde(default)]
    pub(crate) result_path: ResultPath,
    #[serde(default)]
    pub(crate) catch: Vec<Catcher>,
    #[serde(default)]
    pub(crate) next: Option<String>,
    #[serde(default)]
    end: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct ChoiceState {
    #[serde(default, rename = "Comment")]
    _comment: Option<IgnoredAny>,
    pub(crate) choices: Vec<ChoiceRule>,
    /// Required here: a value that matches no rule must not end the execution.
    pub(crate) default: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct ChoiceRule {
    pub(crate) variable: String,
    pub(crate) string_equals: String,
    pub(crate) next: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct PassState {
    #[serde(default, rename = "Comment")]
    _comment: Option<IgnoredAny>,
    #[serde(default)]
    pub(crate) parameters: Option<Value>,
    #[serde(default)]
    pub(crate) result_path: ResultPath,
    #[serde(default)]
    pub(crate) next: Option<String>,
    #[serde(default)]
    end: bool,
}

/// The two kinds of maps.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum MapState {
    /// Over the entries of a listing, in batches, each in a child execution.
    Distributed(DistributedMap),
    /// Over a list in the input, one item after another, in the same execution.
    Inline(InlineMap),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct InlineMap {
    #[serde(default, rename = "Comment")]
    _comment: Option<IgnoredAny>,
    pub(crate) items_path: String,
    pub(crate) item_selector: Value,
    max_concurrency: u32,
    pub(crate) item_processor: StateMachine,
    #[serde(default)]
    pub(crate) result_path: ResultPath,
    #[serde(default)]
    pub(crate) next: Option<String>,
    #[serde(default)]
    end: bool,
}

impl MapState {
    fn transition(&self) -> (&Option<String>, bool) {
        match self {
            Self::Distributed(map) => (&map.next, map.end),
            Self::Inline(map) => (&map.next, map.end),
        }
    }

    /// Validates the map, and returns its templates.
    fn check(&self) -> Result<Vec<&Value>, DefinitionError> {
        let (machine, mode) = match self {
            Self::Distributed(map) => (&map.item_processor, "DISTRIBUTED"),
            Self::Inline(map) => (&map.item_processor, "INLINE"),
        };
        machine.check(false)?;
        let has_mode = machine.processor_config.as_ref().is_some_and(|config| config.mode == mode);
        let (is_supported, templates) = match self {
            Self::Distributed(map) => (
                map.item_batcher.max_items_per_batch > 0,
                vec![
                    &map.item_reader.parameters,
                    &map.item_batcher.batch_input,
                    &map.result_writer.parameters,
                ],
            ),
            Self::Inline(map) => (map.max_concurrency == 1, vec![&map.item_selector]),
        };
        if has_mode && is_supported {
            return Ok(templates);
        }
        let message =
            "only distributed maps with batches, and inline maps with a concurrency of 1, are supported";
        Err(DefinitionError::Invalid(message.into()))
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct DistributedMap {
    #[serde(default, rename = "Comment")]
    _comment: Option<IgnoredAny>,
    #[serde(default, rename = "Label")]
    _label: Option<IgnoredAny>,
    pub(crate) item_reader: ItemReader,
    pub(crate) item_batcher: ItemBatcher,
    pub(crate) max_concurrency_path: String,
    pub(crate) tolerated_failure_percentage_path: String,
    pub(crate) item_processor: StateMachine,
    pub(crate) result_writer: ItemReader,
    #[serde(default)]
    pub(crate) next: Option<String>,
    #[serde(default)]
    end: bool,
}

/// The source of items, or the destination of results.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct ItemReader {
    pub(crate) resource: String,
    pub(crate) parameters: Value,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct ItemBatcher {
    pub(crate) max_items_per_batch: usize,
    pub(crate) batch_input: Value,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct FailState {
    #[serde(default, rename = "Comment")]
    _comment: Option<IgnoredAny>,
    pub(crate) error_path: String,
    pub(crate) cause_path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct Catcher {
    pub(crate) error_equals: Vec<String>,
    #[serde(default)]
    pub(crate) result_path: ResultPath,
    pub(crate) next: String,
}

impl StateMachine {
    /// Parses a definition after replacing `${MemberName}` by the values in `substitutions`.
    ///
    /// # Errors
    /// Anything unsupported or inconsistent; a placeholder without a substitution, or a substitution without a
    /// placeholder.
    pub fn parse(text: &str, substitutions: &[(&str, &str)]) -> Result<Self, DefinitionError> {
        let mut text = text.to_owned();
        for (name, value) in substitutions {
            let placeholder = format!("${{{name}}}");
            if !text.contains(&placeholder) {
                return Err(DefinitionError::Invalid(format!("the definition has no {placeholder}")));
            }
            text = text.replace(&placeholder, value);
        }
        if let Some((_, rest)) = text.split_once("${") {
            let name = rest.split('}').next().unwrap_or_default();
            return Err(DefinitionError::Invalid(format!("${{{name}}} has no substitution")));
        }
        let machine: Self = serde_json::from_str(&text)?;
        machine.check(true)?;
        Ok(machine)
    }

    fn check(&self, is_top_level: bool) -> Result<(), DefinitionError> {
        let invalid = |why: String| Err(DefinitionError::Invalid(why));
        if is_top_level && self.query_language.as_deref() != Some("JSONPath") {
            return invalid("QueryLanguage must be JSONPath".into());
        }
        if is_top_level && self.comment.as_ref().is_none_or(String::is_empty) {
            return invalid("Comment is missing".into());
        }
        if let Some(config) = &self.processor_config
            && !matches!(
                (config.mode.as_str(), config.execution_type.as_deref()),
                ("DISTRIBUTED", Some("STANDARD")) | ("INLINE", None)
            )
        {
            return invalid(format!(
                "unsupported map: mode {}, execution type {:?}",
                config.mode, config.execution_type
            ));
        }
        let mut reachable = BTreeSet::new();
        let mut pending = vec![self.start_at.as_str()];
        while let Some(name) = pending.pop() {
            let Some(state) = self.states.get(name) else {
                return invalid(format!("there is no state {name}"));
            };
            if reachable.insert(name) {
                state.check(name)?;
                pending.extend(state.next_states());
            }
        }
        match self.states.keys().find(|name| !reachable.contains(name.as_str())) {
            Some(name) => invalid(format!("{name} cannot be reached")),
            None => Ok(()),
        }
    }
}

impl State {
    fn next_states(&self) -> Vec<&str> {
        match self {
            Self::Task(task) => {
                task.next.iter().chain(task.catch.iter().map(|c| &c.next)).map(String::as_str).collect()
            }
            Self::Parallel(parallel) => parallel
                .next
                .iter()
                .chain(parallel.catch.iter().map(|c| &c.next))
                .map(String::as_str)
                .collect(),
            Self::Choice(choice) => choice
                .choices
                .iter()
                .map(|rule| &rule.next)
                .chain([&choice.default])
                .map(String::as_str)
                .collect(),
            Self::Pass(pass) => pass.next.iter().map(String::as_str).collect(),
            Self::Map(map) => map.transition().0.iter().map(String::as_str).collect(),
            Self::Succeed { .. } | Self::Fail(_) => Vec::new(),
        }
    }

    fn check(&self, name: &str) -> Result<(), DefinitionError> {
        let invalid = |why: &str| Err(DefinitionError::Invalid(format!("{name}: {why}")));
        let (next, end) = match self {
            Self::Task(TaskState { next, end, .. })
            | Self::Parallel(ParallelState { next, end, .. })
            | Self::Pass(PassState { next, end, .. }) => (next, *end),
            Self::Map(map) => map.transition(),
            Self::Choice(_) | Self::Succeed { .. } | Self::Fail(_) => (&None, true),
        };
        if next.is_some() == end {
            return invalid("it must have either a Next or an End");
        }
        let (templates, errors): (Vec<&Value>, Vec<&Vec<String>>) = match self {
            Self::Task(task) => (
                [&task.parameters].into_iter().chain(&task.result_selector).collect(),
                task.retry.iter().map(|r| &r.error_equals).collect(),
            ),
            Self::Parallel(parallel) => {
                for branch in &parallel.branches {
                    branch.check(false)?;
                }
                (Vec::new(), Vec::new())
            }
            Self::Map(map) => (map.check()?, Vec::new()),
            Self::Pass(pass) => (pass.parameters.iter().collect(), Vec::new()),
            Self::Choice(_) | Self::Succeed { .. } | Self::Fail(_) => (Vec::new(), Vec::new()),
        };
        for template in templates {
            path::check_template(template)
                .map_err(|why| DefinitionError::Invalid(format!("{name}: {why}")))?;
        }
        let catch = match self {
            Self::Task(TaskState { catch, .. }) | Self::Parallel(ParallelState { catch, .. }) => {
                catch.as_slice()
            }
            _ => &[],
        };
        // States.ALL must be alone and last, in retriers and in catchers.
        let catchers: Vec<&Vec<String>> = catch.iter().map(|c| &c.error_equals).collect();
        for list in [errors, catchers] {
            for (index, names) in list.iter().enumerate() {
                let has_all = names.iter().any(|name| name == "States.ALL");
                if names.is_empty() || (has_all && (names.len() > 1 || index + 1 < list.len())) {
                    return invalid("States.ALL must be alone, and last");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse_states(states: &Value) -> Result<StateMachine, String> {
        let text = json!({"Comment": "c", "QueryLanguage": "JSONPath", "StartAt": "A", "States": states});
        StateMachine::parse(&text.to_string(), &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn rejects_unsupported_definitions() {
        let task = |more: Value| {
            let mut task =
                json!({"Type": "Task", "Resource": "r", "Parameters": {}, "TimeoutSeconds": 1, "End": true});
            task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "A": task })
        };
        assert!(parse_states(&task(json!({}))).is_ok());
        for (states, why) in [
            (task(json!({"HeartbeatSeconds": 1})), "HeartbeatSeconds"),
            (task(json!({"Next": "A"})), "either a Next or an End"),
            (task(json!({"End": false, "Next": "B"})), "no state B"),
            (task(json!({"Parameters": {"a.$": "$.x[0]"}})), "A: "),
            (task(json!({"Parameters": {"a.$": "States.UUID()"}})), "States.UUID"),
            (
                task(json!({"Retry": [{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["x"]}]})),
                "alone, and last",
            ),
            (task(json!({"Retry": [{"ErrorEquals": ["x"], "JitterStrategy": "SOME"}]})), "SOME"),
            (task(json!({"Catch": [{"ErrorEquals": ["x"], "Next": "B"}]})), "no state B"),
            (json!({"A": {"Type": "Wait", "Seconds": 1, "End": true}}), "Wait"),
            (json!({"A": {"Type": "Succeed"}, "B": {"Type": "Succeed"}}), "B cannot be reached"),
            (json!({"A": {"Type": "Choice", "Choices": []}}), "Default"),
        ] {
            let refusal = parse_states(&states).expect_err(&states.to_string());
            assert!(refusal.contains(why), "{states}: {refusal}");
        }
    }

    #[test]
    fn substitutions_must_match_placeholders() {
        let text = r#"{"Comment": "${One}", "QueryLanguage": "JSONPath", "StartAt": "A", "States": {"A": {"Type": "Succeed"}}}"#;
        assert!(StateMachine::parse(text, &[("One", "1")]).is_ok());
        assert!(StateMachine::parse(text, &[]).unwrap_err().to_string().contains("${One}"));
        assert!(StateMachine::parse(text, &[("One", "1"), ("Two", "2")]).is_err());
        assert!(
            StateMachine::parse(
                r#"{"Comment": "c", "StartAt": "A", "States": {"A": {"Type": "Succeed"}}}"#,
                &[]
            )
            .is_err()
        );
    }
}
