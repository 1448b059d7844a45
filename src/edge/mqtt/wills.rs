//! Wills: published when a connection ends otherwise than it should.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::Edge;
use super::connect::Will;
use crate::domain::live::{Held, Publication, Reached};
use crate::edge::wire::age_now;
use crate::model::Party;
use crate::ports::router::ConnectionId;

/// Publishes a will, after the messages of the connection that are still `held`. A wait for a subscriber happens in a
/// separate task, as the client's next connection waits for this one.
pub(super) async fn publish(edge: &Arc<Edge>, party: &Party, publisher: ConnectionId, will: Will, held: Option<Held>) {
    let Some(held) = held else {
        if let Some(held) = publish_now(edge, party, publisher, will).await {
            edge.tasks.spawn(held);
        }
        return;
    };
    let (task_edge, party) = (Arc::clone(edge), party.clone());
    edge.tasks.spawn(async move {
        held.await;
        if let Some(held) = publish_now(&task_edge, &party, publisher, will).await {
            held.await;
        }
    });
}

/// Publishes a will when its delay or the session is over, whichever is first (v5 §3.1.3.2.2), or the hub stops. A
/// message on the returned channel decides before that.
pub(super) fn delay(
    edge: &Arc<Edge>,
    party: Party,
    publisher: ConnectionId,
    will: Box<Will>,
    expiry_s: u32,
    held: Option<Held>,
) -> oneshot::Sender<bool> {
    let (decide, decided) = oneshot::channel();
    let due = Instant::now() + Duration::from_secs(will.delay_s.min(expiry_s).into());
    let task_edge = Arc::clone(edge);
    edge.tasks.spawn(async move {
        if let Some(held) = held {
            held.await;
        }
        let publishes = tokio::select! {
            decision = decided => decision.unwrap_or(true),
            () = sleep_until(due) => true,
            () = task_edge.shutdown.cancelled() => true,
        };
        if publishes && let Some(held) = publish_now(&task_edge, &party, publisher, *will).await {
            held.await;
        }
    });
    decide
}

async fn publish_now(edge: &Edge, party: &Party, publisher: ConnectionId, will: Will) -> Option<Held> {
    let Will { topic, payload, qos, retain, properties, expires_in_s, .. } = will;
    let expires_at = expires_in_s.map(|seconds| age_now() + f64::from(seconds));
    let (publisher, payload) = (Some(publisher), payload.into());
    let publication = Publication { topic, payload, qos, retain, publisher, properties, expires_at };
    match Box::pin(edge.hub.publish(party, publication)).await {
        Ok(Reached { commit, held, .. }) => {
            if let Some(mut commit) = commit {
                commit.reached().await;
            }
            held
        }
        Err(error) => {
            tracing::debug!(%party, %error, "mqtt will refused");
            None
        }
    }
}
