//! Periodic tasks: expiry of sessions and retained messages, and the figures of `$SYS/broker/…`.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Edge;
use crate::config::seconds;
use crate::domain::live::Figures;
use crate::edge::wire;

/// The interval of the search for expired sessions and messages. Until then they use space, but are not delivered.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// Never returns.
pub(super) async fn run(edge: &Edge) {
    let began = Instant::now();
    let mut sweep = interval(SWEEP_INTERVAL);
    let mut figures_due = interval(seconds(edge.config.sys_interval_s.max(1)));
    for timer in [&mut sweep, &mut figures_due] {
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    loop {
        tokio::select! {
            _ = sweep.tick() => {
                edge.sessions.sweep(wire::age_now());
                edge.hub.sweep();
                if let Err(error) = edge.hub.sweep_uploads(wire::now()).await {
                    tracing::warn!(?error, "abandoned uploads not swept");
                }
                if let Err(error) = edge.hub.sweep_answers(wire::now()).await {
                    tracing::warn!(?error, "old answers not swept");
                }
            }
            _ = figures_due.tick() => publish_figures(edge, began.elapsed()),
        }
    }
}

/// The names are those that brokers have in common.
fn publish_figures(edge: &Edge, uptime: Duration) {
    let Figures { connections, published, delivered, retained, dropped } = edge.hub.figures();
    for (name, value) in [
        ("version", concat!("toyhub ", env!("CARGO_PKG_VERSION")).to_owned()),
        ("uptime", format!("{} seconds", uptime.as_secs())),
        ("clients/connected", connections.to_string()),
        ("messages/received", published.to_string()),
        ("messages/sent", delivered.to_string()),
        ("retained messages/count", retained.to_string()),
        ("sessions/dropped", dropped.to_string()),
    ] {
        if let Ok(topic) = format!("$SYS/broker/{name}").parse() {
            edge.hub.publish_figure(topic, value);
        }
    }
}
