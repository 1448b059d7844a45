//! Two hours of figures, for the charts and for the refusals of the last hour.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::domain::{Gauges, Hub};
use crate::edge::wire;
use crate::model::Timestamp;
use crate::ports::metrics::{METRICS, Messages, Timing};

/// How much is kept.
const KEPT: Duration = Duration::from_secs(2 * 3600);
/// The time of which refusals are shown, in seconds.
const RECENT_S: f64 = 3600.0;

/// A figure of a sample.
type Figure = fn(&Gauges) -> f64;

/// The figures of a sample: the name, and whether it is a counter, of which the difference between two samples is shown.
const FIGURES: [(&str, bool, Figure); 16] = [
    ("http", false, |_| METRICS.http.open.get() as f64),
    ("mqtt", false, |_| METRICS.mqtt.open.get() as f64),
    ("app", false, |_| METRICS.app_sockets.get() as f64),
    ("legacy", false, |_| METRICS.legacy_sockets.get() as f64),
    ("received", true, |_| sum(|messages| &messages.received)),
    ("sent", true, |_| sum(|messages| &messages.sent)),
    ("delivered", true, |gauges| gauges.router.delivered as f64),
    ("dropped", true, |gauges| (METRICS.dropped.get() + gauges.router.dropped) as f64),
    ("calls", true, |_| METRICS.calls.get() as f64),
    ("refused", true, |_| METRICS.refusals().map(|(_, count)| count).sum::<u64>() as f64),
    ("queued", false, |gauges| gauges.depths.queued as f64),
    ("away", false, |gauges| gauges.depths.sessions_away as f64),
    ("commits", true, |_| count_of(&METRICS.store_commit)),
    ("commit_s", true, |_| METRICS.store_commit.sum_s()),
    ("recognised", true, |_| count_of(&METRICS.recognise)),
    ("disk_free", false, |gauges| gauges.disk_free_bytes as f64),
];

fn sum(which: fn(&Messages) -> &[crate::ports::metrics::Count; 3]) -> f64 {
    let all = [&METRICS.mqtt_messages, &METRICS.app_messages].into_iter().flat_map(which);
    all.map(|count| count.get()).sum::<u64>() as f64
}

fn count_of(timing: &Timing) -> f64 {
    timing.buckets().iter().map(|(_, count)| count).sum::<u64>() as f64
}

/// The figures at one time.
#[derive(Debug, Clone)]
struct Sample {
    at: Timestamp,
    figures: [f64; FIGURES.len()],
    refusals: Refusals,
}

/// The refusals since the start: by the code of the answer, and of connections by protocol and reason.
#[derive(Debug, Clone, Default)]
struct Refusals {
    codes: Vec<(usize, u64)>,
    connections: Vec<(&'static str, &'static str, u64)>,
}

impl Refusals {
    fn now() -> Self {
        let protocols = [("http", &METRICS.http), ("mqtt", &METRICS.mqtt), ("console", &METRICS.console)];
        let connections =
            protocols.iter().flat_map(|(protocol, of)| of.refused().map(|(reason, count)| (*protocol, reason, count)));
        Self { codes: METRICS.refusals().collect(), connections: connections.collect() }
    }

    /// How many there were since `earlier`.
    fn since(&self, earlier: &Self) -> Value {
        let codes = self.codes.iter().map(|(code, count)| {
            let before = earlier.codes.iter().find(|(other, _)| other == code).map_or(0, |(_, count)| *count);
            json!({"code": code, "count": count - before})
        });
        let connections = self.connections.iter().map(|(protocol, reason, count)| {
            let before = earlier.connections.iter().find(|other| (other.0, other.1) == (*protocol, *reason));
            json!({"protocol": protocol, "reason": reason, "count": count - before.map_or(0, |before| before.2)})
        });
        let some = |value: &Value| value["count"] != 0;
        json!({
            "codes": codes.filter(some).collect::<Vec<_>>(),
            "connections": connections.filter(some).collect::<Vec<_>>(),
        })
    }
}

impl Sample {
    fn now(hub: &Hub) -> Self {
        let gauges = hub.gauges();
        Self { at: wire::now(), figures: FIGURES.map(|(.., figure)| figure(&gauges)), refusals: Refusals::now() }
    }
}

/// The samples of the last two hours.
#[derive(Debug)]
pub(super) struct History {
    interval: Duration,
    samples_max: usize,
    samples: Mutex<VecDeque<Sample>>,
}

impl History {
    /// With a sample at every `interval`.
    pub(super) fn new(interval: Duration) -> Self {
        let samples_max = (KEPT.as_secs_f64() / interval.as_secs_f64()).ceil() as usize + 1;
        Self { interval, samples_max, samples: Mutex::default() }
    }

    /// Takes samples until it is dropped.
    pub(super) async fn run(&self, hub: &Hub) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.keep(Sample::now(hub));
        }
    }

    fn keep(&self, sample: Sample) {
        let mut samples = self.samples();
        if samples.len() >= self.samples_max {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The figures after this time, and the present ones at the end.
    pub(super) fn series(&self, after: Timestamp, hub: &Hub) -> Value {
        let present = Sample::now(hub);
        let samples = self.samples();
        let shown: Vec<&Sample> = samples.iter().filter(|sample| sample.at > after).chain([&present]).collect();
        let of = |at: usize| shown.iter().map(|sample| sample.figures[at]).collect::<Vec<_>>();
        let series = FIGURES
            .iter()
            .enumerate()
            .map(|(at, (name, is_counter, _))| json!({"name": name, "is_counter": is_counter, "values": of(at)}));
        json!({
            "interval_s": self.interval.as_secs_f64(),
            "at": shown.iter().map(|sample| sample.at).collect::<Vec<_>>(),
            "series": series.collect::<Vec<_>>(),
        })
    }

    /// The refusals of the last hour, or since the first sample.
    pub(super) fn refusals(&self) -> Value {
        let now = wire::now();
        let earlier = self.samples().iter().find(|sample| sample.at >= now - RECENT_S).cloned();
        let since = earlier.as_ref().map_or(now, |sample| sample.at);
        let mut refusals = Refusals::now().since(&earlier.map(|sample| sample.refusals).unwrap_or_default());
        refusals["since"] = json!(since);
        refusals
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Timestamp, code_10: u64) -> Sample {
        let refusals = Refusals { codes: vec![(10, code_10)], connections: vec![("mqtt", "full", code_10)] };
        Sample { at, figures: [at; FIGURES.len()], refusals }
    }

    #[test]
    fn two_hours_are_kept() {
        let history = History::new(Duration::from_secs(60));
        for minute in 0..200 {
            history.keep(sample(f64::from(minute) * 60.0, 0));
        }
        let samples = history.samples();
        assert_eq!((samples.len(), samples[0].at, samples[120].at), (121, 79.0 * 60.0, 199.0 * 60.0));
    }

    #[test]
    fn refusals_are_counted_since_an_earlier_time() {
        let (earlier, now) = (sample(0.0, 3).refusals, sample(1.0, 5).refusals);
        let since = now.since(&earlier);
        assert_eq!(since["codes"], json!([{"code": 10, "count": 2}]));
        assert_eq!(since["connections"], json!([{"protocol": "mqtt", "reason": "full", "count": 2}]));
        assert_eq!(now.since(&now)["codes"], json!([]), "none since");
        assert_eq!(now.since(&Refusals::default())["codes"][0]["count"], 5);
    }
}
