//! Notifications of systemd (sd_notify). None are sent if the hub is not a service of systemd.

use std::time::Duration;

use sd_notify::NotifyState;

/// The minimum interval of watchdog notifications.
const WATCHDOG_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The listeners accept, or a reload is done.
pub async fn ready() {
    notify(vec![NotifyState::Ready]).await;
}

/// A reload has begun. `Type=notify-reload` asks for the time of it, too.
pub async fn reloading() {
    let now = NotifyState::monotonic_usec_now().ok();
    notify([NotifyState::Reloading].into_iter().chain(now).collect()).await;
}

/// The hub stops.
pub async fn stopping() {
    notify(vec![NotifyState::Stopping]).await;
}

/// The hub works.
pub async fn alive() {
    notify(vec![NotifyState::Watchdog]).await;
}

/// The interval of watchdog notifications: half of systemd's timeout. None without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| (timeout / 2).max(WATCHDOG_INTERVAL_MIN))
}

/// The socket of systemd blocks while systemd is busy.
async fn notify(states: Vec<NotifyState<'static>>) {
    // A failed task is the end of the runtime.
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || sd_notify::notify(&states)).await {
        tracing::warn!(%error, "systemd could not be notified");
    }
}
