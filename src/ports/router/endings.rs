//! The end of subscriptions: the client unsubscribes, or its party has lost the permission.

use std::sync::Arc;

use super::disk::Op;
use super::queue::Queue;
use super::{Router, Subscription};
use crate::model::{Party, TopicFilter};

impl Router {
    /// Ends those subscriptions of the live connections of `party` for which it has lost the permission. Offline
    /// sessions are checked when a client resumes them.
    pub fn end_subscriptions(&self, party: &Party, is_lost: impl Fn(&TopicFilter) -> bool) {
        let connections = self.presence.get(party).map(|present| present.here.clone());
        for queue in connections.unwrap_or_default() {
            let all: Vec<Subscription> = queue.state().filters.iter().map(|known| known.subscription.clone()).collect();
            for Subscription { filter, share, .. } in all.into_iter().filter(|known| is_lost(&known.filter)) {
                self.unsubscribe(&queue, &filter, share.as_deref());
            }
        }
    }

    /// Ends a subscription of a connection; false if there was none.
    pub(super) fn unsubscribe(&self, queue: &Arc<Queue>, filter: &TopicFilter, share: Option<&str>) -> bool {
        if let Some(durable) = &queue.durable {
            // Unknown ones are removed, too: an earlier connection may have failed to write its removal.
            let filter = share.map_or(filter.to_string(), |share| format!("$share/{share}/{filter}"));
            durable.disk.order(Op::Unsubscribe { session: durable.session, filter });
        }
        {
            let mut state = queue.state();
            state.is_changed = true;
            let Some(at) = state.filters.iter().position(|known| known.is(filter, share)) else { return false };
            state.filters.swap_remove(at);
        }
        self.remove_subscription(queue, filter, share);
        true
    }
}
