//! The state of the hub: health, figures, connections, refusals, log, backup.

use std::time::Instant;

use serde_json::{Value, json};

use super::super::reply::Fault;
use super::super::tail::TAIL;
use super::{Api, Call};
use crate::domain::backup::{BackedUp, newest};
use crate::domain::{Limit, Progress};
use crate::edge::wire;
use crate::ports::metrics::METRICS;
use crate::ports::router::Connected;

impl Api {
    /// The health of the parts, and the present figures.
    pub(super) async fn overview(&self) -> Result<Value, Fault> {
        let gauges = self.hub.gauges();
        let limit = |Limit { name, used, max }: Limit| json!({"name": name, "used": used, "max": max});
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "now": wire::now(),
            "started_at": self.started_at,
            "health": wire::health(&self.hub.health()),
            "disk": {"free_bytes": gauges.disk_free_bytes, "reserve_bytes": gauges.disk_reserve_bytes},
            "connections": {
                "http": METRICS.http.open.get(),
                "mqtt": METRICS.mqtt.open.get(),
                "app": METRICS.app_sockets.get(),
                "legacy": METRICS.legacy_sockets.get(),
            },
            "sessions": {"connected": gauges.depths.sessions_connected, "away": gauges.depths.sessions_away},
            "queued": gauges.depths.queued,
            "queued_max": gauges.depths.queued_max,
            "retained": gauges.router.retained,
            "limits": self.hub.limits().into_iter().map(limit).collect::<Vec<_>>(),
            "backup": self.backup().await?,
        }))
    }

    /// The live connections of parties whose id begins like this.
    pub(super) fn connections(&self, call: &Call) -> Value {
        let prefix = call.optional("search").unwrap_or_default();
        let (rows, count) = self.hub.connected(&prefix, self.config.console.rows_max);
        let row = |Connected { party, link, queued, subscriptions, dropped }: Connected| {
            let link = link.map(|link| {
                json!({
                    "protocol": link.protocol,
                    "address": link.peer.to_string(),
                    "since": link.since,
                    "received": link.traffic.received.get(),
                    "sent": link.traffic.sent.get(),
                })
            });
            json!({
                "kind": party.kind().as_str(), "id": party.id(), "link": link,
                "queued": queued, "subscriptions": subscriptions, "dropped": dropped,
            })
        };
        json!({"count": count, "rows": rows.into_iter().map(row).collect::<Vec<_>>(), "now": wire::now()})
    }

    /// The refusals of the last hour.
    pub(super) fn refusals(&self) -> Value {
        self.history.refusals()
    }

    /// The last lines of the log.
    pub(super) fn log(&self, call: &Call) -> Result<Value, Fault> {
        let (first, lines, next) = TAIL.from(call.number("from")?.unwrap_or(0), self.config.console.log_lines_max);
        Ok(json!({"first": first, "lines": lines, "next": next, "filter": self.config.server.log}))
    }

    /// The newest backup, and whether one is being made.
    async fn backup(&self) -> Result<Value, Fault> {
        let settings = &self.config.backup;
        if !settings.is_on() {
            return Ok(json!({"is_on": false}));
        }
        let newest = newest(&settings.dir).await.map_err(|error| Fault::Words(error.to_string()))?;
        let newest = newest.map(|(name, taken_at)| json!({"name": name, "taken_at": taken_at}));
        Ok(json!({"is_on": true, "is_running": self.hub.is_backing_up(), "newest": newest}))
    }

    /// Makes a backup now, in the folder of the settings.
    pub(super) async fn back_up(&self) -> Result<Value, Fault> {
        let settings = &self.config.backup;
        if !settings.is_on() {
            return Err(Fault::Words("no folder for backups is set; set backup.dir and start the hub again".into()));
        }
        let began = Instant::now();
        let made = self.hub.back_up(&settings.dir, Some(settings.keep), wire::now(), &Progress::unwatched()).await;
        let made = made.map_err(|error| Fault::Words(error.to_string()))?;
        let seconds = began.elapsed().as_secs_f64();
        let BackedUp { name, users, toys, messages, files, bytes, new_files, new_bytes, missing_files } = made;
        tracing::info!(name, messages, new_files, new_bytes, missing_files, seconds, "backup made by the operator");
        Ok(json!({
            "name": name, "users": users, "toys": toys, "messages": messages, "files": files, "bytes": bytes,
            "new_files": new_files, "new_bytes": new_bytes, "missing_files": missing_files, "seconds": seconds,
        }))
    }
}
