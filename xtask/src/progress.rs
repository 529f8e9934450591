//! Progress of steps that can run at the same time. A terminal shows one line with all running steps, which is redrawn;
//! other outputs get a line per step at intervals. Also records the duration of each step for the summary.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Interval of progress lines if the output is not a terminal.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// Interval at which the progress line on a terminal is redrawn.
pub(crate) const REDRAW_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum length in characters of the progress line on a terminal: a line that wraps could not be cleared.
const MAX_LINE_CHARS: usize = 100;
/// Maximum length in characters of the last output line of a step.
const MAX_TAIL_CHARS: usize = 60;

static BOARD: Mutex<Board> =
    Mutex::new(Board { running: Vec::new(), times: Vec::new(), next_id: 0, drawn_at: None });

/// The running steps.
struct Board {
    running: Vec<RunningStep>,
    times: Vec<StepTime>,
    next_id: u64,
    /// When the progress line was last drawn; `None` if the cursor's line is empty.
    drawn_at: Option<Instant>,
}

struct RunningStep {
    id: u64,
    title: String,
    started: Instant,
    /// The last line of its output.
    tail: String,
    /// When its last progress line was printed, since its start.
    printed_at: Duration,
}

/// The duration of a finished step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepTime {
    pub(crate) title: String,
    pub(crate) wall: Duration,
    /// CPU time of its processes, user and system; `None` if unknown.
    pub(crate) cpu: Option<Duration>,
}

/// Another thread's panic leaves the board usable: at worst a line is drawn twice.
fn board() -> MutexGuard<'static, Board> {
    BOARD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Prints a line above the progress line.
pub(crate) fn print_line(line: &str) {
    let mut board = board();
    board.clear();
    println!("{line}");
    board.draw();
}

/// Returns the durations of the steps that have finished since the last call.
pub(crate) fn take_times() -> Vec<StepTime> {
    std::mem::take(&mut board().times)
}

/// Formats durations as a line: `npm ci 20 s (CPU 15 s), Worker 40 s (CPU 70 s)`.
pub(crate) fn format_times(times: &[StepTime]) -> String {
    let seconds = |duration: Duration| duration.as_secs_f64().round();
    let texts = times.iter().map(|time| {
        let mut text = format!("{} {} s", time.title, seconds(time.wall));
        if let Some(cpu) = time.cpu {
            // Writing to a string does not fail.
            let _ = write!(text, " (CPU {} s)", seconds(cpu));
        }
        text
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// A step in the display.
#[derive(Debug)]
pub(crate) struct StepDisplay {
    id: u64,
}

impl StepDisplay {
    pub(crate) fn begin(title: &str) -> Self {
        let mut board = board();
        let id = board.next_id;
        board.next_id += 1;
        if !io::stdout().is_terminal() {
            println!("   … {title}");
        }
        board.running.push(RunningStep {
            id,
            title: title.to_owned(),
            started: Instant::now(),
            tail: String::new(),
            printed_at: Duration::ZERO,
        });
        board.draw();
        Self { id }
    }

    /// Shows the elapsed time, and the last line of the step's output.
    pub(crate) fn update(&self, last_line: &str) {
        let mut board = board();
        let Some(step) = board.running.iter_mut().find(|step| step.id == self.id) else { return };
        step.tail = last_line.trim().chars().filter(|c| !c.is_control()).take(MAX_TAIL_CHARS).collect();
        if io::stdout().is_terminal() {
            if board.drawn_at.is_none_or(|drawn_at| drawn_at.elapsed() >= REDRAW_INTERVAL) {
                board.draw();
            }
            return;
        }
        let elapsed = step.started.elapsed();
        if elapsed >= step.printed_at + HEARTBEAT_INTERVAL {
            step.printed_at = elapsed;
            println!("   … {} {} s  {}", step.title, elapsed.as_secs(), step.tail);
        }
    }

    /// Prints the result, and records the duration.
    pub(crate) fn finish(self, is_ok: bool, cpu: Option<Duration>) {
        let mut board = board();
        let Some(index) = board.running.iter().position(|step| step.id == self.id) else { return };
        let step = board.running.remove(index);
        let wall = step.started.elapsed();
        board.clear();
        let mark = if is_ok { "ok" } else { "!!" };
        println!("  {mark} {} ({:.1} s)", step.title, wall.as_secs_f64());
        board.times.push(StepTime { title: step.title, wall, cpu });
        board.draw();
    }
}

impl Board {
    /// Removes the progress line from a terminal.
    fn clear(&mut self) {
        if self.drawn_at.take().is_some() {
            print!("\r\u{1b}[2K");
        }
    }

    /// Draws the progress line on a terminal.
    fn draw(&mut self) {
        if self.running.is_empty() || !io::stdout().is_terminal() {
            return;
        }
        self.drawn_at = Some(Instant::now());
        let steps: Vec<_> = self
            .running
            .iter()
            .map(|step| (step.title.as_str(), step.started.elapsed(), step.tail.as_str()))
            .collect();
        print!("\r\u{1b}[2K{}", format_running(&steps));
        // A closed terminal must not stop the step.
        let _ = io::stdout().flush();
    }
}

/// The progress line: every running step with its elapsed time; of a single step, also its last line of output.
fn format_running(steps: &[(&str, Duration, &str)]) -> String {
    let titles: Vec<_> =
        steps.iter().map(|(title, elapsed, _)| format!("{title} {} s", elapsed.as_secs())).collect();
    let mut line = format!("   … {}", titles.join(", "));
    if line.chars().count() > MAX_LINE_CHARS {
        line = line.chars().take(MAX_LINE_CHARS - 1).chain(['…']).collect();
    }
    if let [(_, _, tail)] = steps
        && !tail.is_empty()
    {
        let _ = write!(line, "  \u{1b}[2m{tail}\u{1b}[0m");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn running_steps_share_one_line() {
        let one = [("npm ci", secs(3), "fetching")];
        assert_eq!(format_running(&one), "   … npm ci 3 s  \u{1b}[2mfetching\u{1b}[0m");
        let two = [("npm ci", secs(3), "fetching"), ("Worker", secs(12), "Compiling serde")];
        assert_eq!(format_running(&two), "   … npm ci 3 s, Worker 12 s");
        let many: Vec<_> = (0..20).map(|_| ("a long title", secs(1), "")).collect();
        let line = format_running(&many);
        assert!(line.chars().count() == MAX_LINE_CHARS && line.ends_with('…'), "{line}");
    }

    #[test]
    fn summary_lists_wall_and_cpu_time() {
        let time = |title: &str, wall, cpu| StepTime { title: title.into(), wall: secs(wall), cpu };
        let times = [time("npm ci", 20, Some(secs(15))), time("page", 1, None)];
        assert_eq!(format_times(&times), "npm ci 20 s (CPU 15 s), page 1 s");
    }
}
