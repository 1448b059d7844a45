//! Push messages: browsers in which the family's app is closed learn that there is something new.
//!
//! A browser subscribes with the token of a login, and the subscription ends with that login. News of a user waits in a
//! queue for `push.wait_s`. If no device of the user has it by then, the push services of the user's browsers are sent the
//! word of the news ([`News`]), and nothing else.
//!
//! Whoever has an account can subscribe a service that never answers. So another attempt at a service, and the first one at
//! a service that failed last, wait in a queue of their own: they take no place from the news of others.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{StreamExt as _, iter, unfold};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
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
    later: Mutex<Later>,
    added_later: Notify,
}

/// The attempts that are made later.
#[derive(Default)]
struct Later {
    /// By the time at which they are due, and a number.
    attempts: BTreeMap<(Duration, u64), Attempt>,
    number: u64,
    /// The logins whose push services have failed last, by the hashes of their tokens.
    failing: HashSet<String>,
}

/// An attempt to send news to a browser.
struct Attempt {
    user: UserId,
    news: News,
    to: StoredPush,
    /// The number of attempts before it.
    before: u32,
    /// The pause after it, if it fails.
    pause: Duration,
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
        Ok(Self {
            sender,
            queue_max: config.queue_max,
            queue: Mutex::default(),
            added: Notify::new(),
            later: Mutex::default(),
            added_later: Notify::new(),
        })
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
                warn_dropped();
                return;
            }
        }
        drop(queue);
        self.added.notify_one();
    }

    fn later(&self) -> MutexGuard<'_, Later> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an attempt that is due at a time of the hub's clock.
    fn add_later(&self, attempt: Attempt, due: Duration) {
        let mut later = self.later();
        if later.attempts.len() >= self.queue_max {
            warn_dropped();
            return;
        }
        later.number += 1;
        let number = later.number;
        later.attempts.insert((due, number), attempt);
        drop(later);
        self.added_later.notify_one();
    }

    /// Notes whether the push service of a login has failed.
    fn note_outcome(&self, token_hash: &str, has_failed: bool) {
        let mut later = self.later();
        if !has_failed {
            later.failing.remove(token_hash);
        } else if later.failing.len() < self.queue_max {
            later.failing.insert(token_hash.to_owned());
        }
    }

    fn is_failing(&self, token_hash: &str) -> bool {
        self.later().failing.contains(token_hash)
    }

    /// The next attempt, when it is due by `now`. Only one task calls this.
    async fn next_later(&self, now: impl Fn() -> Duration) -> Attempt {
        loop {
            let pause = {
                let mut later = self.later();
                match later.attempts.first_entry() {
                    None => None,
                    Some(first) if first.key().0 <= now() => return first.remove(),
                    Some(first) => Some(first.key().0.saturating_sub(now())),
                }
            };
            match pause {
                // An earlier one may be added meanwhile.
                Some(pause) => drop(timeout(pause, self.added_later.notified()).await),
                None => self.added_later.notified().await,
            }
        }
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

fn warn_dropped() {
    tracing::warn!("a push message was dropped: push.queue_max is reached");
}

/// Sends push messages, until `shutdown`. The clock is passed in.
pub async fn run(hub: Arc<Hub>, clock: fn() -> Timestamp, shutdown: CancellationToken) {
    let parallel_max = hub.config.push.parallel_max;
    let news = unfold(Arc::clone(&hub), |hub| async move {
        let next = hub.pushes.next().await;
        sleep(next.due.saturating_sub(hub.clock.now())).await;
        Some(((Arc::clone(&hub), next), hub))
    });
    let first = news.for_each_concurrent(parallel_max, |(hub, waiting)| async move {
        warn_of(hub.push(&waiting, clock).await, &waiting.user);
    });
    let attempts = unfold(hub, |hub| async move {
        let next = hub.pushes.next_later(|| hub.clock.now()).await;
        Some(((Arc::clone(&hub), next), hub))
    });
    let later = attempts.for_each_concurrent(parallel_max, |(hub, attempt)| async move {
        let user = attempt.user.clone();
        warn_of(hub.push_later(attempt, clock).await, &user);
    });
    shutdown.run_until_cancelled(async { tokio::join!(first, later) }).await;
}

fn warn_of(sent: Result<(), DomainError>, user: &UserId) {
    if let Err(error) = sent {
        tracing::warn!(?error, user = %Party::User(user.clone()).in_log(), "a push message was not sent");
    }
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
        sender.check(subscription).map_err(|error| match error {
            PushError::Key => DomainError::invalid("p256dh", "must be a point of the curve P-256"),
            _ => {
                DomainError::invalid("endpoint", "must be an https address of a public push service, on the usual port")
            }
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
        let subscriptions = self.store.pushes(&waiting.user, clock()).await?;
        // Most users have none: nothing else is read for their messages.
        if subscriptions.is_empty() {
            return Ok(());
        }
        let party = Party::User(waiting.user.clone());
        let has_arrived = match &waiting.message {
            Some(message) => self.store.has_arrived(&party, message).await?,
            None => self.router.online(&party),
        };
        if has_arrived {
            return Ok(());
        }
        let mut attempts = Vec::new();
        for to in subscriptions {
            let (user, news) = (waiting.user.clone(), waiting.news);
            let is_failing = self.pushes.is_failing(&to.token_hash);
            let attempt = Attempt { user, news, to, before: 0, pause: seconds(self.config.push.retry_s) };
            if is_failing {
                self.pushes.add_later(attempt, self.clock.now());
            } else {
                attempts.push(self.attempt(sender, attempt, clock));
            }
        }
        let sent: Vec<_> = iter(attempts).buffer_unordered(self.config.push.parallel_max).collect().await;
        sent.into_iter().collect()
    }

    /// An attempt that was put off. The subscription may have ended meanwhile.
    async fn push_later(&self, attempt: Attempt, clock: fn() -> Timestamp) -> Result<(), DomainError> {
        let Some(sender) = &self.pushes.sender else { return Ok(()) };
        if !self.store.pushes(&attempt.user, clock()).await?.contains(&attempt.to) {
            self.pushes.note_outcome(&attempt.to.token_hash, false);
            return Ok(());
        }
        self.attempt(sender, attempt, clock).await
    }

    /// Sends news to a browser. If its push service is busy or away, another attempt is put off.
    async fn attempt(
        &self,
        sender: &PushSender,
        attempt: Attempt,
        clock: fn() -> Timestamp,
    ) -> Result<(), DomainError> {
        let config = &self.config.push;
        let (token_hash, subscription) = (&attempt.to.token_hash, &attempt.to.subscription);
        let error = match sender.send(subscription, attempt.news, clock()).await {
            Ok(()) => {
                self.pushes.note_outcome(token_hash, false);
                return Ok(());
            }
            Err(error) => error,
        };
        if error.is_final() {
            self.pushes.note_outcome(token_hash, false);
            self.store.delete_push(&attempt.user, token_hash, Some(&subscription.endpoint)).await?;
            return Ok(());
        }
        self.pushes.note_outcome(token_hash, true);
        let asked = match &error {
            PushError::Status { retry_after_s, .. } => seconds(retry_after_s.unwrap_or_default()),
            _ => Duration::ZERO,
        };
        let attempts = attempt.before + 1;
        if !error.is_temporary() || attempts >= config.tries_max || asked > seconds(config.retry_max_s) {
            return Err(DomainError::internal(error));
        }
        let due = self.clock.now() + attempt.pause.max(asked);
        let pause = attempt.pause.saturating_mul(2);
        self.pushes.add_later(Attempt { before: attempts, pause, ..attempt }, due);
        Ok(())
    }
}
