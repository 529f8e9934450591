//! Output on the terminal: lines, JSON, sizes, durations and tables.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::failure::{CommandResult, ExitStatus, Failure};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Output {
    /// Whether results are JSON documents, one a line.
    pub(crate) is_json: bool,
}

impl Output {
    /// Prints a document: as one line of JSON, or as the text.
    pub(crate) fn print(self, json: &Value, text: impl FnOnce() -> String) -> CommandResult<()> {
        if self.is_json { print_line(json) } else { print_line(text()) }
    }
}

/// Prints a line on standard output.
pub(crate) fn print_line(line: impl Display) -> CommandResult<()> {
    let mut out = io::stdout().lock();
    let result = writeln!(out, "{line}").and_then(|()| out.flush());
    result.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::new(ExitStatus::OutputClosed, ""),
        _ => Failure::io("cannot write the output", &error),
    })
}

/// Prints a line on standard error, where errors are ignored.
pub(crate) fn print_note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Asks on the terminal, and returns whether the answer is yes; `None` if there is no terminal.
pub(crate) fn ask(question: &str) -> Option<bool> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return None;
    }
    let mut err = io::stderr().lock();
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok()?;
    Some(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// A text of the deployment without control characters, which a terminal could interpret.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A number of bytes in decimal units, such as `12.3 MB`.
pub(crate) fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A duration in milliseconds as a clock shows it, such as `1:02:03` or `0:04`.
pub(crate) fn format_clock(ms: u64) -> String {
    let secs = (ms + 500) / 1000;
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{secs:02}") } else { format!("{minutes}:{secs:02}") }
}

/// Lines of names and values in two columns.
pub(crate) fn format_fields(fields: &[(String, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let line = |(name, value): &(String, String)| format!("{name:<width$}  {value}");
    fields.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (2_147_483_648, "2.1 GB"),
            (5_497_558_138_880, "5.5 TB"),
        ] {
            assert_eq!(format_bytes(bytes), text);
        }
    }

    #[test]
    fn durations_are_rounded_to_seconds() {
        for (ms, text) in
            [(0, "0:00"), (499, "0:00"), (500, "0:01"), (59_500, "1:00"), (3_723_000, "1:02:03")]
        {
            assert_eq!(format_clock(ms), text);
        }
    }

    #[test]
    fn control_characters_are_removed() {
        assert_eq!(clean("a\u{1b}[31mb\r\n\u{9b}c"), "a[31mbc");
    }

    #[test]
    fn fields_are_aligned() {
        let fields = [("id".to_owned(), "1".to_owned()), ("state".to_owned(), "ready".to_owned())];
        assert_eq!(format_fields(&fields), "id     1\nstate  ready");
    }
}
