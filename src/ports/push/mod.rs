//! Push messages to browsers, through the push services of their vendors (RFC 8030).
//!
//! A push message is encrypted for the browser (RFC 8291, [`encrypt`]) and signed with the key of this hub (RFC 8292,
//! [`vapid`]), so that a push service can neither read it nor be used by others for the same subscription.

mod encrypt;
mod reach;
mod vapid;

use std::net::IpAddr;
use std::time::Duration;

use ring::rand::SystemRandom;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::model::{News, PushSubscription, Timestamp};
use crate::ports::outgoing::{OutgoingError, Post, Target, connector};

pub use vapid::{VapidError, VapidKey};

/// The maximum size of the body of an answer, which is not used.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// The port of https, the only one of public push services.
const HTTPS_PORT: u16 = 443;

/// How push messages are sent.
#[derive(Debug, Clone)]
pub struct PushSettings {
    /// The address at which push services reach the operator, `mailto:…` or `https://…`; empty for none.
    pub contact: String,
    /// Seconds for which a push service keeps a message for a browser that is offline.
    pub ttl_s: u64,
    /// The timeout of one request.
    pub timeout: Duration,
    /// Whether push services in private networks are permitted, also over http and on any port.
    pub local_services: bool,
}

/// Why a push message was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The subscription has ended.
    #[error("the subscription has ended")]
    Gone,
    /// The endpoint is not at a permitted push service.
    #[error("the endpoint is not permitted")]
    NotPermitted,
    /// The push service has answered with another status.
    #[error("the push service answered with status {status}")]
    Status {
        /// The status.
        status: u16,
        /// Seconds after which the service wants to be asked again.
        retry_after_s: Option<u64>,
    },
    /// The push service cannot be reached. The reason does not name it.
    #[error("the push service cannot be reached: {0}")]
    Unreachable(#[from] OutgoingError),
    /// It has not answered in time.
    #[error("the push service took too long")]
    TimedOut,
    /// The key of the browser is not a point of the curve.
    #[error("the key of the subscription is not valid")]
    Key,
}

impl PushError {
    /// Whether a later attempt may succeed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Status { status, .. } => *status == 408 || *status == 429 || *status >= 500,
            Self::Unreachable(_) | Self::TimedOut => true,
            Self::Gone | Self::NotPermitted | Self::Key => false,
        }
    }

    /// Whether the subscription will never be usable.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Gone | Self::NotPermitted | Self::Key)
    }
}

/// Sends push messages.
pub struct PushSender {
    key: VapidKey,
    settings: PushSettings,
    tls: TlsConnector,
    random: SystemRandom,
}

impl PushSender {
    /// Creates a sender, without connecting. Errors: the client side of TLS cannot be created.
    pub fn new(key: VapidKey, settings: PushSettings) -> Result<Self, OutgoingError> {
        Ok(Self { key, settings, tls: connector(None)?, random: SystemRandom::new() })
    }

    /// The public key of this hub, in the Base64 alphabet for URLs: the `applicationServerKey` of browsers.
    pub fn public_key(&self) -> &str {
        self.key.public()
    }

    /// Checks a subscription: whether requests may go to its endpoint, by https, on the usual port, and not to an address
    /// that is not public, and whether messages can be encrypted for its key. What a name stands for is looked up for each
    /// message. Errors: `NotPermitted`, `Key`, `Unreachable` for an address that cannot be read.
    pub fn check(&self, to: &PushSubscription) -> Result<(), PushError> {
        self.target(&to.endpoint)?;
        encrypt::message(to, &[], &self.random).map(drop).map_err(|_| PushError::Key)
    }

    fn target(&self, endpoint: &str) -> Result<Target, PushError> {
        let target = Target::parse(endpoint)?;
        let is_public = target.host().parse().map_or(true, reach::is_public);
        let is_usual = target.is_https() && target.port() == HTTPS_PORT && is_public;
        if self.settings.local_services || is_usual { Ok(target) } else { Err(PushError::NotPermitted) }
    }

    /// Sends a message to one browser: the word of the news, and nothing else.
    pub async fn send(&self, to: &PushSubscription, news: News, now: Timestamp) -> Result<(), PushError> {
        let target = self.target(&to.endpoint)?;
        let body = encrypt::message(to, news.as_str().as_bytes(), &self.random).map_err(|_| PushError::Key)?;
        let authorization =
            self.key.authorization(&target.origin(), &self.settings.contact, now).map_err(|_| PushError::Key)?;
        let ttl = self.settings.ttl_s.to_string();
        let headers = vec![
            ("content-type", "application/octet-stream"),
            ("content-encoding", "aes128gcm"),
            ("ttl", ttl.as_str()),
            ("urgency", "high"),
            // A later message of the same kind replaces one that the service still keeps.
            ("topic", news.as_str()),
            ("authorization", authorization.as_str()),
        ];
        let is_permitted: fn(IpAddr) -> bool = if self.settings.local_services { |_| true } else { reach::is_public };
        let post = Post { headers, body, tls: &self.tls, is_permitted, answer_max_bytes: ANSWER_MAX_BYTES };
        let answer = timeout(self.settings.timeout, target.post(post)).await.map_err(|_| PushError::TimedOut)?;
        let answer = answer.map_err(|error| match error {
            OutgoingError::NotPermitted => PushError::NotPermitted,
            error => PushError::Unreachable(error),
        })?;
        match answer.status {
            200..=299 => Ok(()),
            404 | 410 => Err(PushError::Gone),
            status => Err(PushError::Status { status, retry_after_s: answer.retry_after_s }),
        }
    }
}
