//! The two transports of a conversation: the WebSocket, and a line of MQTT with its sound over UDP.

use bytes::Bytes;
use serde_json::Value;

use super::End;
use super::message::Hello;

/// An input of a device.
#[derive(Debug)]
pub(super) enum Received {
    /// A message.
    Text(Bytes),
    /// A packet of its microphone.
    Sound(Bytes),
    /// A sign of life, and nothing else.
    Alive,
}

/// The connection of one device, with its messages and its sound.
pub(super) trait Transport: Send {
    /// The next input of the device. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Result<Received, End>> + Send;

    /// Whether sound reaches the device.
    fn is_reachable(&self) -> bool;

    /// Answers a hello: with the session, and the form of the sound that the hub sends.
    fn greet(&mut self, hello: &Hello, session: &str) -> impl Future<Output = Result<(), End>> + Send;

    /// Sends a message.
    fn send(&mut self, message: &Value) -> impl Future<Output = Result<(), End>> + Send;

    /// Asks the device for a sign of life, if the transport has a question of its own; false if it has none.
    fn ping(&mut self) -> impl Future<Output = Result<bool, End>> + Send;

    /// Sends a packet that is played at this time from the beginning of its sound, in milliseconds.
    fn send_sound(&mut self, packet: &Bytes, at_ms: u32) -> impl Future<Output = Result<(), End>> + Send;
}
