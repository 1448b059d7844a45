//! Login: from a valid password or token to a mailbox, without a gap in which a revocation is missed.
//!
//! A revocation changes the database, then increments a counter, then closes the mailboxes of the party. A login reads
//! the counter, then the database, then attaches its mailbox, and then reads the counter again. If it read the database
//! before the change, then either its mailbox was attached in time to be closed, or the second count differs: then the
//! proof is checked again and found invalid. So no revocation has to wait for logins in progress.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::timeout;

use super::Hub;
use super::accounts::hash_of;
use super::error::DomainError;
use super::permissions::guest;
use super::places::Origin;
use crate::model::{DeviceKey, Login, Party, PartyId, Secret, Timestamp, UserId};
use crate::ports::bus::Notice;
use crate::ports::router::{CloseReason, Mailbox};

/// How long a revocation waits for the connections of a party to end, before the data that they left is deleted.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// A client that has authenticated. It can attach a mailbox with this once.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The party.
    pub party: Party,
    /// When its proof expires, by [`super::clock::age_of`]; its connection is then closed.
    pub expires_at: Timestamp,
    proof: Proof,
    proven_at: Timestamp,
    /// The count of revocations before the proof was checked.
    revocations: u64,
}

/// The credential of a client.
#[derive(Debug, Clone)]
pub(super) enum Proof {
    /// None: a conformance test.
    Guest,
    /// The token of this hash, or a ticket for it.
    Token(String),
    /// The key of its device, and the hash of the secret or of a token.
    Device(DeviceKey, String),
    /// Its id, and a token if `[auth] mode` requires one at this address.
    Id(PartyId, Option<Secret>, Origin),
}

impl Admitted {
    /// A conformance test.
    pub fn guest() -> Self {
        Self::unproven(guest())
    }

    pub(super) fn unproven(party: Party) -> Self {
        let (expires_at, proof) = (Timestamp::INFINITY, Proof::Guest);
        Self { party, expires_at, proof, proven_at: 0.0, revocations: 0 }
    }
}

impl Hub {
    /// The login of a token, with its expiry. Errors: `Unauthorized`, `RateLimited`.
    pub async fn authenticate_token(
        &self,
        token: &Secret,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Admitted, DomainError> {
        self.rates.failed_logins_of_address.check(&peer.into())?;
        self.log_in(Some(hash_of(token)), peer, now).await
    }

    /// The login of the token of this hash. A missing or invalid token counts as a failure of the address.
    pub(super) async fn log_in(
        &self,
        token_hash: Option<String>,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Admitted, DomainError> {
        let admitted = match token_hash {
            Some(hash) => self.prove(Proof::Token(hash), now).await?,
            None => None,
        };
        let Some(admitted) = admitted else {
            self.rates.failed_logins_of_address.note(&peer.into());
            return Err(DomainError::Unauthorized);
        };
        Ok(admitted)
    }

    /// The login of an MQTT client: a toy by device key and secret or token, an app by user id and token.
    ///
    /// Errors: `WrongCredentials` (also for a device that is not bound), `RateLimited`.
    pub async fn authenticate_client(
        &self,
        username: &str,
        password: Secret,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Admitted, DomainError> {
        self.rates.failed_logins_of_address.check(&peer.into())?;
        let admitted = match (DeviceKey::parse_lenient(username), username.parse::<UserId>()) {
            (Ok(key), _) => self.prove(Proof::Device(key, hash_of(&password)), now).await?,
            (_, Ok(user)) => {
                let admitted = self.prove(Proof::Token(hash_of(&password)), now).await?;
                admitted.filter(|admitted| admitted.party == Party::User(user))
            }
            _ => None,
        };
        let Some(admitted) = admitted else {
            self.rates.failed_logins_of_address.note(&peer.into());
            return Err(DomainError::WrongCredentials);
        };
        self.note_secret(&admitted.party, admitted.expires_at, peer, now).await?;
        Ok(admitted)
    }

    /// The login of a client of the older sockets, whose address names the party, under `[auth] mode`.
    ///
    /// Errors: `UnknownParty`, `Unauthorized` (a required token is missing, or the token is another party's).
    pub async fn authenticate_id(
        &self,
        id: PartyId,
        token: Option<Secret>,
        from: impl Into<Origin>,
        now: Timestamp,
    ) -> Result<Admitted, DomainError> {
        let from = from.into();
        let revocations = self.revocations.load(Ordering::SeqCst);
        let Login { party, expires_at } = self.authorize_until(&id, token.as_ref(), from, now).await?;
        Ok(Admitted { party, expires_at, proof: Proof::Id(id, token, from), proven_at: now, revocations })
    }

    async fn prove(&self, proof: Proof, now: Timestamp) -> Result<Option<Admitted>, DomainError> {
        let revocations = self.revocations.load(Ordering::SeqCst);
        let login = self.login_of(&proof, now).await?;
        Ok(login.map(|Login { party, expires_at }| Admitted { party, expires_at, proof, proven_at: now, revocations }))
    }

    /// Checks a proof, and returns its login.
    pub(super) async fn login_of(&self, proof: &Proof, now: Timestamp) -> Result<Option<Login>, DomainError> {
        match proof {
            Proof::Guest => Ok(Some(Login { party: guest(), expires_at: Timestamp::INFINITY })),
            Proof::Token(hash) => Ok(self.store.login(hash, now).await?),
            Proof::Device(key, hash) => self.toy_of_device(key, hash, now).await,
            Proof::Id(id, token, from) => match self.authorize_until(id, token.as_ref(), *from, now).await {
                Ok(login) => Ok(Some(login)),
                Err(DomainError::Unauthorized | DomainError::UnknownParty | DomainError::Erased) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Attaches the mailbox of a client, unless its login was revoked since it authenticated. Errors: `Unauthorized`.
    pub(super) async fn attach_admitted(
        &self,
        admitted: &Admitted,
        attach: impl FnOnce() -> Mailbox,
    ) -> Result<Mailbox, DomainError> {
        #[cfg(test)]
        self.gate.pass().await;
        self.note_position(&admitted.party).await?;
        let mailbox = attach();
        if self.revocations.load(Ordering::SeqCst) != admitted.revocations && !matches!(admitted.proof, Proof::Guest) {
            let login = self.login_of(&admitted.proof, admitted.proven_at).await?;
            login.filter(|login| login.party == admitted.party).ok_or(DomainError::Unauthorized)?;
        }
        if self.store.is_on_server() {
            self.live_logins.add(&mailbox, &admitted.proof);
        }
        Ok(mailbox)
    }

    /// Closes the connections of a party whose login was revoked in the database, on all hubs. Logins in progress are
    /// refused. Returns when the connections to this hub have ended, or after a timeout.
    pub(super) async fn end_connections(&self, party: &Party) {
        self.notify_hubs(|| Notice::End { party: party.clone(), is_erased: false });
        self.end_connections_here(party);
        self.leave_in_time(party).await;
    }

    pub(super) fn end_connections_here(&self, party: &Party) {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        self.counted.forget(party);
        self.forget_exports(party);
        self.router.close_party(party, CloseReason::Revoked);
    }

    /// Returns when the connections of a party to this hub have ended, or after a timeout.
    pub(super) async fn leave_in_time(&self, party: &Party) {
        if timeout(LEAVE_MAX, self.router.left(party)).await.is_err() {
            tracing::debug!("closed connections have not ended in time");
        }
    }
}

/// Pauses a login between its proof and its mailbox, or a subscription between its check and its effect, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Gate(std::sync::Mutex<Option<Turn>>);

#[cfg(test)]
type Turn = (tokio::sync::oneshot::Sender<()>, tokio::sync::oneshot::Receiver<()>);

#[cfg(test)]
impl Gate {
    /// Makes the next of these pause: the first channel reports that it has paused, the second one resumes it.
    pub(crate) fn shut(&self) -> (tokio::sync::oneshot::Receiver<()>, tokio::sync::oneshot::Sender<()>) {
        let ((stopped, is_stopped), (open, is_open)) =
            (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
        *self.0.lock().unwrap() = Some((stopped, is_open));
        (is_stopped, open)
    }

    pub(super) async fn pass(&self) {
        let turn = self.0.lock().unwrap().take();
        if let Some((stopped, is_open)) = turn {
            let _ = stopped.send(());
            let _ = is_open.await;
        }
    }
}
