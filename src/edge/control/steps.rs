//! The steps of a command, which are lines before its answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::Response;
use crate::domain::{Progress, Step, Unit};

/// The pause between two reports of one step, in milliseconds.
const PAUSE_MS: u64 = 100;
/// Reports that wait for the client; more are dropped.
const WAITING_MAX: usize = 64;

/// How far one step of a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The step.
    pub step: String,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do, if that is known.
    #[serde(default)]
    pub total: Option<u64>,
    /// Whether bytes are counted.
    #[serde(default)]
    pub is_bytes: bool,
    /// Whether the step has ended.
    #[serde(default)]
    pub is_over: bool,
}

/// A line from the hub to the command line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Told {
    /// A step.
    Step {
        /// The report.
        progress: Report,
    },
    /// The answer, which is the last line.
    Answer(Response),
}

/// The steps of a command, and their receiver: each beginning and each end, and at most ten times a second what is
/// between them.
pub fn channel() -> (Progress, mpsc::Receiver<Report>) {
    let (out, reports) = mpsc::channel(WAITING_MAX);
    let (began, last_ms) = (Instant::now(), AtomicU64::new(0));
    let progress = Progress::watched(move |step| {
        let Step { name, done, total, unit, is_new, is_over } = step;
        let now_ms = began.elapsed().as_millis() as u64;
        if !is_new && !is_over && now_ms.saturating_sub(last_ms.load(Ordering::Relaxed)) < PAUSE_MS {
            return;
        }
        last_ms.store(now_ms, Ordering::Relaxed);
        // A receiver that is slow misses some.
        let report = Report { step: name.to_owned(), done, total, is_bytes: unit == Unit::Bytes, is_over };
        drop(out.try_send(report));
    });
    (progress, reports)
}

/// Shows all steps, until the work has ended.
pub async fn show_all(mut reports: mpsc::Receiver<Report>, mut show: impl FnMut(Report)) {
    while let Some(report) = reports.recv().await {
        show(report);
    }
}

/// Writes all steps, until the work has ended or the client has left.
pub(super) async fn write_all(out: &mut (impl AsyncWrite + Unpin), mut reports: mpsc::Receiver<Report>) {
    while let Some(progress) = reports.recv().await {
        let Ok(mut line) = serde_json::to_vec(&Told::Step { progress }) else { return };
        line.push(b'\n');
        if out.write_all(&line).await.is_err() || out.flush().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_step_are_reported_and_not_each_piece() {
        let (progress, mut reports) = channel();
        let began = Instant::now();
        for name in ["one", "two"] {
            let counter = progress.begin(name, Some(1000), Unit::Items);
            (0..1000).for_each(|_| counter.add(1));
        }
        let most = 4 + began.elapsed().as_millis() as u64 / PAUSE_MS;
        drop(progress);
        let mut told = Vec::new();
        while let Some(report) = reports.blocking_recv() {
            told.push((report.step, report.done, report.is_over));
        }
        assert!(told.len() as u64 <= most, "{told:?}");
        for name in ["one", "two"] {
            let of: Vec<_> = told.iter().filter(|(step, ..)| step == name).collect();
            assert_eq!((of[0].1, of[0].2, of[of.len() - 1].1, of[of.len() - 1].2), (0, false, 1000, true));
        }
    }

    #[test]
    fn an_answer_is_told_from_a_step() {
        let told = |text: &str| serde_json::from_str::<Told>(text).unwrap();
        assert!(matches!(told(r#"{"lines":["a"]}"#), Told::Answer(Response::Lines(_))));
        let Told::Step { progress } = told(r#"{"progress":{"step":"copying","done":1}}"#) else { panic!("a step") };
        assert_eq!((progress.step.as_str(), progress.done, progress.total), ("copying", 1, None));
    }
}
