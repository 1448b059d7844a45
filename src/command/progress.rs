//! The progress of a command on the standard error: a bar on a terminal, lines elsewhere. The output of the command is
//! not changed by it.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::edge::control::Report;

/// The bar of a step whose size is known.
const COUNTED: &str = "{msg} [{wide_bar}] {human_pos} of {human_len}, {percent} %";
const COUNTED_BYTES: &str = "{msg} [{wide_bar}] {bytes} of {total_bytes}, {percent} %";
/// The line of a step whose size is not known.
const OPEN: &str = "{spinner} {msg}";
const OPEN_BYTES: &str = "{spinner} {msg}: {bytes}";
/// How often a spinner turns.
const TURN: Duration = Duration::from_millis(120);
/// The pause between two lines of one step.
const LINE_PAUSE: Duration = Duration::from_secs(5);

/// Shows the steps of a command.
#[derive(Debug)]
pub enum Display {
    /// Bars, one at a time.
    Terminal(Option<(String, ProgressBar)>),
    /// The time of the last line.
    Lines(Instant),
}

impl Display {
    /// For the standard error of this process.
    pub fn new() -> Self {
        if io::stderr().is_terminal() { Self::Terminal(None) } else { Self::Lines(Instant::now()) }
    }

    /// Shows a report.
    pub fn show(&mut self, report: Report) {
        match self {
            Self::Terminal(shown) => show_bar(shown, report),
            Self::Lines(last) => {
                // A step that ends at once and has counted nothing is not worth a line.
                let is_worth = report.is_over && report.done > 0 || !report.is_over && last.elapsed() >= LINE_PAUSE;
                if is_worth {
                    *last = Instant::now();
                    // Nobody may read the standard error.
                    let _ = writeln!(io::stderr(), "{}", line_of(&report));
                }
            }
        }
    }
}

impl Drop for Display {
    /// Clears a bar whose end was not reported.
    fn drop(&mut self) {
        if let Self::Terminal(Some((_, bar))) = self {
            bar.finish_and_clear();
        }
    }
}

fn show_bar(shown: &mut Option<(String, ProgressBar)>, report: Report) {
    if shown.as_ref().is_some_and(|(step, _)| *step != report.step) || report.is_over {
        if let Some((_, bar)) = shown.take() {
            bar.finish_and_clear();
        }
        if report.is_over {
            return;
        }
    }
    let (_, bar) = shown.get_or_insert_with(|| (report.step.clone(), new_bar(&report)));
    if let Some(total) = report.total {
        bar.set_length(total);
    }
    bar.set_position(report.done);
}

fn new_bar(report: &Report) -> ProgressBar {
    let (bar, template) = match (report.total, report.is_bytes) {
        (Some(total), true) => (ProgressBar::new(total), COUNTED_BYTES),
        (Some(total), false) => (ProgressBar::new(total), COUNTED),
        (None, true) => (ProgressBar::no_length(), OPEN_BYTES),
        (None, false) => (ProgressBar::no_length(), OPEN),
    };
    // The templates are fixed, and valid: a test reads them.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(report.step.clone());
    bar.enable_steady_tick(TURN);
    bar
}

/// A report as text: `copying sounds and pictures: 12 of 40`.
fn line_of(report: &Report) -> String {
    let shown = |count: u64| if report.is_bytes { format!("{:.1} MB", count as f64 / 1e6) } else { count.to_string() };
    let done = shown(report.done);
    match report.total {
        Some(total) => format!("{}: {done} of {}", report.step, shown(total)),
        None if report.done > 0 => format!("{}: {done}", report.step),
        None => report.step.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(done: u64, total: Option<u64>, is_bytes: bool) -> Report {
        Report { step: "copying".into(), done, total, is_bytes, is_over: false }
    }

    #[test]
    fn a_step_is_a_line_with_its_unit() {
        assert_eq!(line_of(&report(3, Some(40), false)), "copying: 3 of 40");
        assert_eq!(line_of(&report(1_250_000, Some(2_500_000), true)), "copying: 1.2 MB of 2.5 MB");
        assert_eq!(line_of(&report(1_250_000, None, true)), "copying: 1.2 MB");
        assert_eq!(line_of(&report(0, None, false)), "copying");
    }

    #[test]
    fn every_template_can_be_drawn() {
        for template in [COUNTED, COUNTED_BYTES, OPEN, OPEN_BYTES] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
