//! The line between the MQTT connection of a device with stock firmware and the edge that knows its protocol.
//!
//! Such a device publishes all its messages to one topic, and takes all messages that come, without a subscription. So
//! they are not routed: they go up and down this line. Messages that find a full line are lost, as at QoS 0.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::domain::login::Admitted;
use crate::model::Topic;
use crate::ports::router::CloseReason;

/// Messages that wait in each direction.
const WAITING_MAX: usize = 32;

/// A client that has logged in over MQTT.
pub struct LoggedIn<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// Its user name.
    pub username: &'a str,
    /// Its login.
    pub admitted: &'a Admitted,
    /// Its address.
    pub peer: IpAddr,
}

/// Serves a client, if it is such a device.
pub type Connect = Arc<dyn Fn(LoggedIn<'_>) -> Option<Plug> + Send + Sync>;

/// The end at the connection.
pub struct Plug {
    up: mpsc::Sender<Bytes>,
    down: mpsc::Receiver<Bytes>,
    end: oneshot::Receiver<CloseReason>,
    topics: Topics,
    message_max_bytes: usize,
}

/// The topics of a device.
#[derive(Debug, Clone)]
pub struct Topics {
    /// The one that it publishes to.
    pub up: Topic,
    /// The one of messages to it.
    pub down: Topic,
}

/// The end at the edge that serves the device. Dropping it ends the connection.
pub struct Line {
    up: mpsc::Receiver<Bytes>,
    down: mpsc::Sender<Bytes>,
    end: oneshot::Sender<CloseReason>,
}

/// Both ends of a line. Longer messages of the device are dropped.
pub fn line(topics: Topics, message_max_bytes: usize) -> (Line, Plug) {
    let (up, from_device) = mpsc::channel(WAITING_MAX);
    let (down, to_device) = mpsc::channel(WAITING_MAX);
    let (end, ended) = oneshot::channel();
    (Line { up: from_device, down, end }, Plug { up, down: to_device, end: ended, topics, message_max_bytes })
}

impl Plug {
    /// Whether a message of the device on this topic goes up.
    pub fn takes(&self, topic: &Topic) -> bool {
        *topic == self.topics.up
    }

    /// Whether a filter is the one of messages to the device, which some clients subscribe to.
    pub fn is_subscription(&self, filter: &str) -> bool {
        filter == self.topics.down.as_str()
    }

    /// The topic of messages to the device.
    pub fn topic(&self) -> &Topic {
        &self.topics.down
    }

    /// Takes a message of the device.
    pub fn push(&self, message: &Bytes) {
        if message.len() > self.message_max_bytes {
            tracing::debug!(bytes = message.len(), "a message of a device is too long");
            return;
        }
        // Copied: it may be a slice of a read buffer, which would be kept with it.
        if self.up.try_send(Bytes::copy_from_slice(message)).is_err() {
            tracing::debug!("a message of a device is dropped");
        }
    }

    /// The next message to the device; an error if it is served no more, with the reason if the hub ends its connection.
    /// Not to be called after an error.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, Option<CloseReason>>> {
        // Without a message, the other end is gone as a whole, so there is a reason by now, or never.
        self.down.poll_recv(context).map(|message| message.ok_or_else(|| self.end.try_recv().ok()))
    }
}

impl Line {
    /// The next message of the device; none if its connection has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.up.recv().await
    }

    /// Sends a message to the device; false if its connection has ended. It waits while the device reads slowly.
    pub async fn send(&self, message: Bytes) -> bool {
        self.down.send(message).await.is_ok()
    }

    /// Ends the connection of the device for this reason, after the messages that were sent.
    pub fn close(self, reason: CloseReason) {
        // The connection may have ended.
        let _ = self.end.send(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn messages_pass_in_order_and_each_end_notices_the_end_of_the_other() {
        let topics = Topics { up: "device-server".parse().unwrap(), down: "devices/p2p/a".parse().unwrap() };
        let (mut line, mut plug) = line(topics, 10);
        assert!(plug.takes(&"device-server".parse().unwrap()) && !plug.takes(&"devices/p2p/a".parse().unwrap()));
        assert!(plug.is_subscription("devices/p2p/a") && !plug.is_subscription("devices/p2p/+"));
        for number in 0..2 * WAITING_MAX as u8 {
            plug.push(&Bytes::copy_from_slice(&[number]));
        }
        for number in 0..WAITING_MAX as u8 {
            assert_eq!(line.next().await.unwrap()[..], [number], "the later ones are lost");
        }
        plug.push(&Bytes::from_static(&[0; 11]));
        plug.push(&Bytes::from_static(&[1; 10]));
        assert_eq!(line.next().await.unwrap()[..], [1; 10], "the longer one is dropped");
        assert!(line.send(Bytes::from_static(b"x")).await);
        assert_eq!(next(&mut plug).await, Ok(Bytes::from_static(b"x")));
        drop(plug);
        assert!(!line.send(Bytes::new()).await && line.next().await.is_none());
        let (line, mut plug) = super::line(plug_topics(), 10);
        drop(line);
        assert_eq!(next(&mut plug).await, Err(None));
        plug.push(&Bytes::new());
        let (line, mut plug) = super::line(plug_topics(), 10);
        assert!(line.send(Bytes::from_static(b"x")).await);
        line.close(CloseReason::ShuttingDown);
        assert_eq!(next(&mut plug).await, Ok(Bytes::from_static(b"x")));
        assert_eq!(next(&mut plug).await, Err(Some(CloseReason::ShuttingDown)));
    }

    async fn next(plug: &mut Plug) -> Result<Bytes, Option<CloseReason>> {
        std::future::poll_fn(|context| plug.poll_next(context)).await
    }

    fn plug_topics() -> Topics {
        Topics { up: "a".parse().unwrap(), down: "b".parse().unwrap() }
    }
}
