//! The figures of the hub in the text format of Prometheus. The names are listed in docs/operation.md.
//!
//! Every label is one of the words of this file, of the names of parts, or a code of an answer: nothing of a family is
//! in the text.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;

use crate::domain::Gauges;
use crate::ports::metrics::{Count, METRICS, Messages, Timing};

/// The media type of the text.
pub(super) const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

type Labels = Vec<(&'static str, String)>;

/// The counters of the process, and these.
pub(super) fn write(gauges: &Gauges) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("toyhub");
    registry.register_collector(Box::new(Figures(gauges.clone())));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Figures(Gauges);

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        connections(&mut page)?;
        messages(&mut page, &self.0)?;
        refusals(&mut page)?;
        timings(&mut page)?;
        state(&mut page, &self.0)
    }
}

fn connections(page: &mut Page<'_>) -> fmt::Result {
    let all = [("http", &METRICS.http), ("mqtt", &METRICS.mqtt), ("console", &METRICS.console)];
    let sockets = [("app", &METRICS.app_sockets), ("legacy", &METRICS.legacy_sockets)];
    let open = all.iter().map(|(protocol, of)| (*protocol, &of.open)).chain(sockets);
    page.gauges(
        "connections",
        "Open connections; a WebSocket is counted under http and under its protocol",
        open.map(|(protocol, count)| (of_protocol(protocol), count.get() as f64)),
    )?;
    page.counters(
        "connections_accepted",
        "Accepted connections",
        all.iter().map(|(protocol, of)| (of_protocol(protocol), of.accepted.get())),
    )?;
    let refused = all.iter().flat_map(|(protocol, of)| {
        of.refused().map(|(reason, count)| (with(of_protocol(protocol), "reason", reason), count))
    });
    page.counters("connections_refused", "Refused connections, by reason", refused)
}

fn messages(page: &mut Page<'_>, gauges: &Gauges) -> fmt::Result {
    let all = [("mqtt", &METRICS.mqtt_messages), ("app", &METRICS.app_messages)];
    let by_qos = |which: fn(&Messages) -> &[Count; 3]| {
        all.into_iter().flat_map(move |(protocol, messages)| {
            let counts = which(messages).iter().enumerate();
            counts.map(move |(qos, count)| (with(of_protocol(protocol), "qos", &qos.to_string()), count.get()))
        })
    };
    page.counters("messages_received", "Messages from clients, by quality of service", by_qos(|of| &of.received))?;
    page.counters("messages_sent", "Messages to clients, by quality of service", by_qos(|of| &of.sent))?;
    page.counters("published", "Messages that the router has taken", one(gauges.router.published))?;
    page.counters("delivered", "Deliveries of these messages to subscribers", one(gauges.router.delivered))?;
    let dropped = [("memory", METRICS.dropped.get()), ("session", gauges.router.dropped)];
    page.counters(
        "dropped",
        "Messages that were dropped at the limit of a queue",
        dropped.map(|(queue, count)| (vec![("queue", queue.to_owned())], count)),
    )?;
    page.counters("calls", "Calls over HTTP, app sockets and MQTT", one(METRICS.calls.get()))
}

fn refusals(page: &mut Page<'_>) -> fmt::Result {
    page.counters(
        "refusals",
        "Refused and failed calls, by the code of the answer",
        METRICS.refusals().map(|(code, count)| (vec![("code", code.to_string())], count)),
    )
}

fn timings(page: &mut Page<'_>) -> fmt::Result {
    page.timing("store_commit_seconds", "Commits of the database, with their sync", &METRICS.store_commit)?;
    page.timing("store_statement_seconds", "Statements of the database", &METRICS.store_statement)?;
    page.timing(
        "sessions_commit_seconds",
        "Commits of sessions and retained messages, with their sync",
        &METRICS.sessions_commit,
    )?;
    page.timing("file_write_seconds", "Writes of a sound or picture, with their sync", &METRICS.file_write)?;
    page.timing("decode_seconds", "Decoding of a recording", &METRICS.decode)?;
    page.timing("encode_seconds", "Encoding of a recording", &METRICS.encode)?;
    page.timing("notice_seconds", "Notice of a message, looked up or spoken", &METRICS.notice)?;
    page.timing("recognise_seconds", "Recognition of a recording, without the queue", &METRICS.recognise)
}

fn state(page: &mut Page<'_>, gauges: &Gauges) -> fmt::Result {
    let depths = &gauges.depths;
    page.gauges("queued_messages", "Messages in the queues of all connections", one(depths.queued as f64))?;
    page.gauges("queued_messages_max", "Messages in the longest of these queues", one(depths.queued_max as f64))?;
    let sessions = [("connected", depths.sessions_connected), ("away", depths.sessions_away)];
    page.gauges(
        "sessions",
        "Persistent MQTT sessions",
        sessions.map(|(state, count)| (vec![("state", state.to_owned())], count as f64)),
    )?;
    page.gauges("retained_messages", "Retained messages", one(gauges.router.retained as f64))?;
    page.gauges(
        "jobs",
        "Jobs that run or are queued",
        gauges.jobs.map(|(pool, count)| (vec![("pool", pool.to_owned())], count as f64)),
    )?;
    page.gauges(
        "part_up",
        "Whether a part of the hub works",
        gauges.parts.iter().map(|(part, works)| (vec![("part", (*part).to_owned())], f64::from(u8::from(*works)))),
    )?;
    page.gauges("disk_free_bytes", "Free space of the data folder's disk", one(gauges.disk_free_bytes as f64))?;
    page.gauges("disk_reserve_bytes", "The part of it that stays free", one(gauges.disk_reserve_bytes as f64))?;
    page.gauges(
        "version",
        "The version of the program, as a label",
        [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
    )
}

fn of_protocol(protocol: &str) -> Labels {
    vec![("protocol", protocol.to_owned())]
}

fn with(mut labels: Labels, name: &'static str, value: &str) -> Labels {
    labels.push((name, value.to_owned()));
    labels
}

fn one<T>(value: T) -> [(Labels, T); 1] {
    [(Vec::new(), value)]
}

/// Writes one metric after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            let none = None::<&Exemplar<Labels, f64>>;
            match labels.is_empty() {
                true => metric.encode_counter(&value, none)?,
                false => metric.encode_family(&labels)?.encode_counter(&value, none)?,
            }
        }
        Ok(())
    }

    fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            match labels.is_empty() {
                true => metric.encode_gauge(&value)?,
                false => metric.encode_family(&labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    fn timing(&mut self, name: &str, help: &str, timing: &Timing) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let buckets = timing.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<Labels>(timing.sum_s(), count, &buckets, None)
    }
}
