//! Push messages: browsers in which the family's app is closed learn that there is something new.
//!
//! A browser subscribes with the token of a login, and the subscription ends with that login. News of a user waits in a
//! queue for `push.wait_s`. If no device of the user has it by then, the push services of the user's browsers are sent the
//! word of the news ([`News`]), and nothing else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{StreamExt as _, iter, unfold};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Hub;
use super::accounts::hash_of;
use super::error::DomainError;
use crate::config::{self, seconds};
use crate::model::{Event, MessageId, News, Party, PushSubscription, Secret, StoredPush, Timestamp, UserId};
use crate::ports::push::{PushError, PushSender, PushSettings, VapidKey};
use crate::ports::store::Store;

/// The sender of push messages, and the news that wait.
pub(super) struct Pushes {
    /// None if they are turned off.
    sender: Option<PushSender>,
    queue_max: usize,
    queue: Mutex<VecDeque<Waiting>>,
    added: Notify,
}

/// News of a user.
struct Waiting {
    user: UserId,
    news: News,
    /// The newest message that it is about.
    message: Option<MessageId>,
    /// When it is sent, by the hub's clock.
    due: Duration,
}

impl Pushes {
    /// Reads the key of this hub, which is made at the first start.
    pub(super) async fn open(store: &Store, config: &config::Push) -> Result<Self, DomainError> {
        let sender = if config.enabled {
            let fresh = VapidKey::generate().map_err(DomainError::internal)?;
            let key = VapidKey::parse(&store.push_key(&fresh).await?).map_err(DomainError::internal)?;
            let settings = PushSettings {
                contact: config.contact.clone(),
                ttl_s: config.ttl_s,
                timeout: seconds(config.timeout_s),
                local_services: config.local_services,
            };
            Some(PushSender::new(key, settings).map_err(DomainError::internal)?)
        } else {
            None
        };
        Ok(Self { sender, queue_max: config.queue_max, queue: Mutex::default(), added: Notify::new() })
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds news. News of the same kind that waits already announces it, too.
    fn add(&self, waiting: Waiting) {
        let mut queue = self.queue();
        let same = queue.iter().position(|other| other.user == waiting.user && other.news == waiting.news);
        match same {
            Some(at) => queue[at].message = waiting.message,
            None if queue.len() < self.queue_max => queue.push_back(waiting),
            None => {
                tracing::warn!("a push message was dropped: push.queue_max is reached");
                return;
            }
        }
        drop(queue);
        self.added.notify_one();
    }

    /// The next news, when there is one. Only one task calls this.
    async fn next(&self) -> Waiting {
        loop {
            let next = self.queue().pop_front();
            match next {
                Some(next) => return next,
                None => self.added.notified().await,
            }
        }
    }
}

/// Sends push messages, until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let parallel_max = hub.config.push.parallel_max;
    let news = unfold(hub, |hub| async move {
        let next = hub.pushes.next().await;
        sleep(next.due.saturating_sub(hub.clock.now())).await;
        Some(((Arc::clone(&hub), next), hub))
    });
    let work = news.for_each_concurrent(parallel_max, |(hub, waiting)| async move {
        if let Err(error) = hub.push(&waiting, clock).await {
            tracing::warn!(?error, user = %Party::User(waiting.user).in_log(), "a push message was not sent");
        }
    });
    shutdown.run_until_cancelled(work).await;
}

impl Hub {
    /// The public key of this hub, with which browsers subscribe; none if push messages are turned off.
    pub fn push_key(&self) -> Option<&str> {
        self.pushes.sender.as_ref().map(PushSender::public_key)
    }

    /// Sets the subscription of the login of `token`. Errors: `Unauthorized` if the token is not one of `user`, `Invalid`
    /// for a push service that is not permitted, or if push messages are turned off; `DiskFull`.
    pub async fn set_push(
        &self,
        user: &UserId,
        token: &Secret,
        subscription: &PushSubscription,
        now: Timestamp,
    ) -> Result<(), DomainError> {
        let off = || DomainError::invalid("endpoint", "cannot be set: the operator of this hub sends no push messages");
        let sender = self.pushes.sender.as_ref().ok_or_else(off)?;
        sender.check(&subscription.endpoint).map_err(|_| {
            DomainError::invalid("endpoint", "must be an https address of a public push service, on the usual port")
        })?;
        self.check_room(0)?;
        let is_login = self.token_party(token, now).await? == Some(Party::User(user.clone()))
            && self.store.set_push(user, &hash_of(token), subscription, now).await?;
        if is_login { Ok(()) } else { Err(DomainError::Unauthorized) }
    }

    /// Deletes the subscription of the login of `token`, if there is one.
    pub async fn erase_push(&self, user: &UserId, token: &Secret) -> Result<(), DomainError> {
        Ok(self.store.delete_push(user, &hash_of(token), None).await?)
    }

    /// The subscriptions of a user.
    pub async fn pushes(&self, user: &UserId, now: Timestamp) -> Result<Vec<StoredPush>, DomainError> {
        Ok(self.store.pushes(user, now).await?)
    }

    /// Notes an event of a user that is news.
    pub(super) fn note_news(&self, user: &UserId, event: &Event) {
        if self.pushes.sender.is_none() {
            return;
        }
        let (news, message) = match event {
            Event::Message { id, .. } => (News::Message, Some(id.clone())),
            Event::FriendRequest { .. } => (News::Request, None),
            Event::ToyWantsIn { .. } => (News::Toy, None),
            _ => return,
        };
        let due = self.clock.now() + seconds(self.config.push.wait_s);
        self.pushes.add(Waiting { user: user.clone(), news, message, due });
    }

    /// Sends news to the browsers of a user, unless a device of the user has it.
    async fn push(&self, waiting: &Waiting, clock: fn() -> Timestamp) -> Result<(), DomainError> {
        let Some(sender) = &self.pushes.sender else { return Ok(()) };
        let party = Party::User(waiting.user.clone());
        let has_arrived = match &waiting.message {
            Some(message) => self.store.has_arrived(&party, message).await?,
            None => self.router.online(&party),
        };
        if has_arrived {
            return Ok(());
        }
        let pushes = self.store.pushes(&waiting.user, clock()).await?;
        let send = |push: StoredPush| async move {
            match self.push_to(sender, &push.subscription, waiting.news, clock).await {
                Ok(()) => Ok(()),
                Err(error) if error.is_final() => {
                    let (token, endpoint) = (&push.token_hash, &push.subscription.endpoint);
                    self.store.delete_push(&waiting.user, token, Some(endpoint)).await.map_err(DomainError::from)
                }
                Err(error) => Err(DomainError::internal(error)),
            }
        };
        let sent: Vec<_> = iter(pushes).map(send).buffer_unordered(self.config.push.parallel_max).collect().await;
        sent.into_iter().collect()
    }

    /// Sends news to a browser, several times if its push service is busy or away.
    async fn push_to(
        &self,
        sender: &PushSender,
        to: &PushSubscription,
        news: News,
        clock: fn() -> Timestamp,
    ) -> Result<(), PushError> {
        let config = &self.config.push;
        let mut pause = seconds(config.retry_s);
        let mut tries = 1;
        loop {
            let error = match sender.send(to, news, clock()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let asked = match &error {
                PushError::Status { retry_after_s, .. } => seconds(retry_after_s.unwrap_or_default()),
                _ => Duration::ZERO,
            };
            if !error.is_temporary() || tries >= config.tries_max || asked > seconds(config.retry_max_s) {
                return Err(error);
            }
            sleep(pause.max(asked)).await;
            pause = pause.saturating_mul(2);
            tries += 1;
        }
    }
}
