//! Subscriptions of clients, shared ones included.

use crate::model::{QoS, TopicFilter};

/// One subscription of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The filter.
    pub filter: TopicFilter,
    /// The group that shares each message with one of its members (v5 §4.8.2).
    pub share: Option<Box<str>>,
    /// The granted quality of service.
    pub qos: QoS,
    /// Options of the protocol, stored for the edge.
    pub options: u8,
    /// The subscription identifier; 0 for none (v5 §3.8.2.1.2).
    pub id: u32,
}

impl Subscription {
    /// The filter as the client wrote it: `$share/<group>/<filter>` for a shared subscription.
    pub fn text(&self) -> String {
        match &self.share {
            Some(share) => format!("$share/{share}/{}", self.filter),
            None => self.filter.to_string(),
        }
    }

    /// Parses the subscription of a client; none if the text is not a filter.
    pub fn from_text(text: &str, qos: QoS, options: u8, id: u32) -> Option<Self> {
        let (share, filter) = match text.strip_prefix("$share/") {
            Some(rest) => {
                let (share, filter) = rest.split_once('/')?;
                if share.is_empty() || share.contains(['+', '#']) {
                    return None;
                }
                (Some(share.into()), filter)
            }
            None => (None, text),
        };
        Some(Self { filter: filter.parse().ok()?, share, qos, options, id })
    }
}
