//! The bytes of a request's body.
//!
//! Reading is bounded three ways: in bytes, in the length of a pause and in the time of the whole body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, Sleep, sleep_until};

use super::client::Requester;
use crate::config::{Http, seconds};
use crate::edge::status::RequestFault;

/// The bytes of one body, as they come.
pub(super) struct BodyReader {
    body: Incoming,
    client: Arc<Requester>,
    max_bytes: u64,
    read_bytes: u64,
    pause: Duration,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

impl BodyReader {
    /// Reads `body` as the limits of `config` allow. A body that is declared larger than `max_bytes` is not begun.
    pub(super) fn new(
        body: Incoming,
        client: Arc<Requester>,
        config: &Http,
        max_bytes: u64,
    ) -> Result<Self, RequestFault> {
        if body.size_hint().exact().is_some_and(|size| size > max_bytes) {
            return Err(RequestFault::TooLarge { max_bytes });
        }
        let now = Instant::now();
        let pause = seconds(config.body_pause_timeout_s);
        let deadline = now + seconds(config.request_timeout_s);
        let timer = Box::pin(sleep_until(deadline.min(now + pause)));
        Ok(Self { body, client, max_bytes, read_bytes: 0, pause, deadline, timer })
    }

    /// Reads the unused rest of a body, so that the connection can serve another request.
    pub(super) async fn drain(&mut self) -> Result<(), RequestFault> {
        while let Some(chunk) = self.next().await {
            chunk?;
        }
        Ok(())
    }

    /// The whole body, which is small.
    pub(super) async fn collect(&mut self) -> Result<Bytes, RequestFault> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.freeze())
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RequestFault>>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer.as_mut().reset(self.deadline.min(Instant::now() + self.pause));
                    // Trailers have no meaning here.
                    let Ok(chunk) = frame.into_data() else { continue };
                    self.read_bytes += chunk.len() as u64;
                    if self.read_bytes > self.max_bytes {
                        return Poll::Ready(Some(Err(RequestFault::TooLarge { max_bytes: self.max_bytes })));
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Some(Err(RequestFault::BadBody("it ends too early"))));
                }
                Poll::Ready(None) => {
                    self.client.set_unread(false);
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    let fault = || Some(Err(RequestFault::TooSlow));
                    return self.timer.as_mut().poll(cx).map(|()| fault());
                }
            }
        }
    }
}

impl Stream for BodyReader {
    type Item = Result<Bytes, RequestFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}
