//! Refused legacy sockets.
//!
//! Legacy pages reconnect as soon as their socket is closed, without a pause. So a refused one is held for a while
//! before it is closed, and repeated refusals are one line in the log each minute. The number of held sockets is limited;
//! beyond it they are closed at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::line::Rate;
use super::socket::Socket;
use super::{CloseCause, End};
use crate::config::{self, seconds};
use crate::domain::error::DomainError;
use crate::edge::net::Places;
use crate::edge::repeats::Repeats;
use crate::model::Network;

/// Clients whose refusals are summed up at once.
const REPEATS_MAX: usize = 1024;

/// The refused sockets.
pub(super) struct Refused {
    hold: Duration,
    frames_per_second: u32,
    places: Arc<Places>,
    repeats: Repeats<(Network, String)>,
    shutdown: CancellationToken,
}

impl Refused {
    pub(super) fn new(config: &config::Ws, shutdown: CancellationToken) -> Self {
        Self {
            hold: seconds(config.refused_hold_s),
            frames_per_second: config.requests_per_second,
            places: Places::new(config.refused_held_max, config.refused_held_per_address_max),
            repeats: Repeats::new(REPEATS_MAX),
            shutdown,
        }
    }

    /// Holds a refused socket, until the client leaves or the time is over. The end with its reason.
    pub(super) async fn hold<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: &mut Socket<S>,
        path: &str,
        peer: IpAddr,
        error: DomainError,
    ) -> End {
        self.report(path, peer, &error);
        let cause = End::from(error);
        let (Ok(_place), Ok(_of_address)) = (self.places.take(), self.places.take_of(peer)) else { return cause };
        let over = sleep(self.hold);
        tokio::pin!(over);
        let mut rate = Rate::new(self.frames_per_second);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return End::Close(CloseCause::ShuttingDown),
                () = &mut over => return cause,
                received = socket.next() => match received {
                    // Nothing that it sends has an effect.
                    Some(Ok(_)) if rate.has_room() => {}
                    Some(Ok(_)) => return End::Close(CloseCause::TooMuch),
                    Some(Err(_)) | None => return End::Gone,
                },
            }
        }
    }

    /// One line for a refusal, and one each minute for those that repeat it. It stands outside the label of the
    /// connection, which is another one each time.
    fn report(&self, path: &str, peer: IpAddr, reason: &DomainError) {
        let client = Network::from(peer).in_log();
        // The first digits of the id, as everywhere in the log.
        let end = path.char_indices().nth("/app/".len() + 6).map_or(path.len(), |(at, _)| at);
        let socket = &path[..end];
        match self.repeats.count((peer.into(), socket.to_owned()), Instant::now()) {
            Some(0) => tracing::info!(parent: None, socket, %client, %reason, "legacy client refused"),
            Some(times) => {
                tracing::warn!(parent: None, socket, %client, %reason, times, "a legacy client is refused again and again");
            }
            None => {}
        }
    }
}
