//! Publications to the hub itself: requests on `<party>/out`, chunks of a recording on `<party>/voice/<upload>/<number>`.
//! A third job has no topic: a client that acknowledges an event of its inbox has received the message that it announces.
//!
//! A task beside the connection does the jobs one after the other, so that a slow one stops neither packets nor pings. A job
//! that was taken is finished even if the connection is lost. Its PUBACK is sent when it is done; the answer to a request
//! is published on `<party>/in`. Chunks that arrived together share their sync.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::Edge;
use crate::domain::error::DomainError;
use crate::edge::request::{self, Caller, Request};
use crate::edge::wire;
use crate::model::{MessageId, Party, UploadName};

/// One job for the hub.
#[derive(Debug)]
pub(super) enum Job {
    /// The text of a request.
    Request(Bytes),
    /// A piece of a recording.
    Chunk { upload: UploadName, number: u32, chunk: Bytes },
    /// The client has acknowledged the event of a message.
    Delivered(MessageId),
}

impl Job {
    /// The kind of job that `topic` is for, if it is a channel of `party` to the hub.
    ///
    /// The payload is copied: it may be a slice of a read buffer, which would be kept with it.
    pub(super) fn of(party: &Party, topic: &str, payload: &Bytes) -> Option<Result<Self, DomainError>> {
        let rest = topic.strip_prefix(party.kind().as_str())?.strip_prefix('/')?;
        let channel = rest.strip_prefix(party.id())?.strip_prefix('/')?;
        let chunk = match channel.split_once('/') {
            None if channel == "out" => return Some(Ok(Self::Request(Bytes::copy_from_slice(payload)))),
            Some(("voice", chunk)) => chunk,
            _ => return None,
        };
        let parsed = chunk.split_once('/').and_then(|(upload, number)| {
            let number = Some(number).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?;
            Some((upload.parse().ok()?, number.parse().ok()?))
        });
        Some(match parsed {
            Some((upload, number)) => Ok(Self::Chunk { upload, number, chunk: Bytes::copy_from_slice(payload) }),
            None => Err(DomainError::invalid("topic", "is voice/<upload>/<number of the chunk>")),
        })
    }
}

#[derive(Debug)]
struct Item {
    job: Job,
    done: oneshot::Sender<Result<(), DomainError>>,
}

/// Resolves when a job was done; an error if it was not.
pub(super) type Done = oneshot::Receiver<Result<(), DomainError>>;

/// The queue of a connection's jobs.
#[derive(Debug)]
pub(super) struct Desk(mpsc::Sender<Item>);

impl Desk {
    /// A desk for a connection that may have `jobs_max` jobs unfinished.
    pub(super) fn open(edge: &Arc<Edge>, caller: Caller, jobs_max: usize) -> Self {
        let (sender, receiver) = mpsc::channel(jobs_max);
        edge.tasks.spawn(work(caller, receiver));
        Self(sender)
    }

    /// Queues the receipt of a message. Without room it is lost: the next receipt of the chat includes it.
    pub(super) fn note(&self, message: MessageId) {
        let (done, _) = oneshot::channel();
        let _ = self.0.try_send(Item { job: Job::Delivered(message), done });
    }

    /// Queues a job, and waits while there is no room for it. None if the task of the desk has ended.
    pub(super) fn leave(&self, job: Job) -> impl Future<Output = Option<Done>> + Send + use<> {
        let (items, (done, is_done)) = (self.0.clone(), oneshot::channel());
        async move { items.send(Item { job, done }).await.ok().map(|()| is_done) }
    }
}

async fn work(caller: Caller, mut items: mpsc::Receiver<Item>) {
    let mut next = None;
    loop {
        let item = match next.take() {
            Some(item) => item,
            None => match items.recv().await {
                Some(item) => item,
                None => return,
            },
        };
        let Item { job, done } = item;
        match job {
            Job::Request(text) => drop(done.send(answer(&caller, &text).await)),
            Job::Delivered(message) => {
                if let Err(error) = caller.hub.mark_delivered(&caller.party, &message).await {
                    tracing::debug!(%error, "receipt not noted");
                }
            }
            Job::Chunk { upload, number, chunk } => {
                let (mut chunks, mut waiting) = (vec![(number, chunk)], vec![done]);
                while let Ok(item) = items.try_recv() {
                    match item.job {
                        Job::Chunk { upload: other, number, chunk } if other == upload => {
                            chunks.push((number, chunk));
                            waiting.push(item.done);
                        }
                        job => {
                            next = Some(Item { job, done: item.done });
                            break;
                        }
                    }
                }
                keep(&caller, &upload, chunks, waiting).await;
            }
        }
    }
}

async fn keep(
    caller: &Caller,
    upload: &UploadName,
    chunks: Vec<(u32, Bytes)>,
    waiting: Vec<oneshot::Sender<Result<(), DomainError>>>,
) {
    if chunks.len() > 1 && caller.hub.keep_chunks(&caller.party, upload, chunks.clone()).await.is_ok() {
        waiting.into_iter().for_each(|done| drop(done.send(Ok(()))));
        return;
    }
    // One by one: one that is refused must not take the others with it.
    for (chunk, done) in chunks.into_iter().zip(waiting) {
        drop(done.send(caller.hub.keep_chunks(&caller.party, upload, vec![chunk]).await));
    }
}

async fn answer(caller: &Caller, text: &[u8]) -> Result<(), DomainError> {
    let answer = match Request::parse(text) {
        Ok(request) => {
            let id = request.id;
            request::answer(id, caller.call(request).await)
        }
        Err(fault) => request::unreadable(&fault),
    };
    caller.hub.reply(&caller.party, Bytes::from(wire::text(&answer))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_the_hub_are_known_by_their_topics() {
        let toy = Party::Toy("5c8f582f268d7942f44c6703".parse().unwrap());
        let job = |topic: &str| Job::of(&toy, topic, &Bytes::from_static(b"x"));
        assert!(matches!(job("toy/5c8f582f268d7942f44c6703/out"), Some(Ok(Job::Request(text))) if text == "x"));
        let chunk = job("toy/5c8f582f268d7942f44c6703/voice/a-1/12");
        assert!(matches!(chunk, Some(Ok(Job::Chunk { upload, number: 12, .. })) if upload.as_str() == "a-1"));
        for other in ["toy/5c8f582f268d7942f44c6703/out/x", "toy/5c8f582f268d7942f44c6704/out", "app/x/out", "", "你"]
        {
            assert!(job(other).is_none(), "{other}");
        }
        for bad in ["voice/a/+1", "voice/a/-1", "voice/a/1/2", "voice/../1", "voice/a/", "voice/a/4294967296"] {
            assert!(matches!(job(&format!("toy/5c8f582f268d7942f44c6703/{bad}")), Some(Err(_))), "{bad}");
        }
    }

    #[test]
    fn the_topics_match_those_of_the_permissions() {
        use crate::domain::permissions::{Action, Rule, rule};
        let toy = Party::Toy("5c8f582f268d7942f44c6703".parse().unwrap());
        let app = Party::User("5c8f582f268d7942f44c6703".parse().unwrap());
        let channels =
            ["out", "out/x", "voice", "voice/", "voice/a/0", "voice/a", "in", "state/x", "cmd/x", "file/a/0"];
        for (who, kind) in [(&toy, "toy"), (&app, "app"), (&toy, "app"), (&app, "toy")] {
            for (id, channel) in ["5c8f582f268d7942f44c6703", "5c8f582f268d7942f44c6704"]
                .into_iter()
                .flat_map(|id| channels.map(|channel| (id, channel)))
            {
                let topic = format!("{kind}/{id}/{channel}");
                let is_job = Job::of(who, &topic, &Bytes::new()).is_some();
                assert_eq!(is_job, rule(who, Action::Publish, &topic) == Rule::ToHub, "{who} {topic}");
            }
        }
    }
}
