//! The progress of uploads: bars on a terminal, lines elsewhere.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::{clean, format_bytes, print_note};

/// How often bars are drawn, a second.
const DRAWS_PER_SECOND: u8 = 10;
/// The longest name in front of a bar, in characters.
const MAX_NAME: usize = 28;

/// The progress of a command.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A bar for each file, on standard error.
    Bars(MultiProgress),
    /// A line when a file begins and ends, on standard error.
    Lines,
    /// Nothing.
    Hidden,
}

/// The progress of one file.
#[derive(Debug)]
pub(crate) struct FileProgress {
    name: String,
    sent: AtomicU64,
    bar: Option<ProgressBar>,
    has_lines: bool,
}

impl Progress {
    /// Bars on a terminal, lines elsewhere, and nothing with `is_quiet`.
    pub(crate) fn new(is_quiet: bool) -> Self {
        if is_quiet {
            return Self::Hidden;
        }
        if io::stderr().is_terminal() {
            return Self::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(
                DRAWS_PER_SECOND,
            )));
        }
        Self::Lines
    }

    /// Begins a file of this length; without one, the length is not known.
    pub(crate) fn begin(&self, name: &str, total: Option<u64>) -> FileProgress {
        let name = clean(name);
        let bar = match self {
            Self::Bars(bars) => Some(bars.add(new_bar(&name, total))),
            Self::Lines | Self::Hidden => None,
        };
        let has_lines = matches!(self, Self::Lines);
        if has_lines {
            let size = total.map_or_else(String::new, |total| format!(", {}", format_bytes(total)));
            print_note(format!("{name}: uploading{size}"));
        }
        FileProgress { name, sent: 0.into(), bar, has_lines }
    }

    /// Removes the bars.
    pub(crate) fn clear(&self) {
        if let Self::Bars(bars) = self {
            let _ = bars.clear();
        }
    }
}

fn new_bar(name: &str, total: Option<u64>) -> ProgressBar {
    let short: String = match name.chars().count() {
        0..=MAX_NAME => name.to_owned(),
        count => format!("…{}", name.chars().skip(count + 1 - MAX_NAME).collect::<String>()),
    };
    let template = match total {
        Some(_) => {
            "{prefix:28!}  {bar:24}  {percent:>3} %  {decimal_bytes:>9} of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta}  {msg}"
        }
        None => "{prefix:28!}  {spinner}  {decimal_bytes:>9}  {decimal_bytes_per_sec}  {msg}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is valid").progress_chars("=> ");
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    bar.with_style(style).with_prefix(short)
}

impl FileProgress {
    /// A progress that is not shown.
    #[cfg(test)]
    pub(crate) fn hidden() -> Self {
        Progress::Hidden.begin("", None)
    }

    /// Adds bytes that were sent.
    pub(crate) fn add(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Subtracts the bytes of a failed request, which are sent again.
    pub(crate) fn subtract(&self, bytes: u64) {
        self.sent.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.dec(bytes);
        }
    }

    /// How many bytes the storage has.
    #[cfg(test)]
    pub(crate) fn position(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Counts bytes that an earlier run has sent.
    pub(crate) fn resume(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
            // The speed is that of this run.
            bar.reset_eta();
        }
        self.note(&format!("resuming after {}", format_bytes(bytes)));
    }

    /// Shows a message beside the bar, or as a line.
    pub(crate) fn note(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(message.to_owned()),
            None if self.has_lines && !message.is_empty() => print_note(format!("{}: {message}", self.name)),
            None => {}
        }
    }

    /// The upload is complete, and the video is being processed.
    pub(crate) fn wait(&self) {
        if let Some(bar) = &self.bar {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        self.note("processing");
    }

    /// The file is done.
    pub(crate) fn finish(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.finish_with_message(message.to_owned()),
            None => self.note(message),
        }
    }
}
