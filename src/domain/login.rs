//! From a good password or token to a mailbox, without a gap in which a revocation is missed.
//!
//! A revocation changes the database, then counts itself, then closes the mailboxes of the party. A login reads that
//! count, then the database, then attaches its mailbox, and then reads the count again. If its database read came before
//! the change, then either its mailbox was there to be closed, or the second count differs: then the proof is examined
//! again, and found to be good no more. So no revocation has to wait for logins that are under way.

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
use crate::ports::router::{CloseReason, Mailbox};

/// How long the connections of a party that lost its right may take to end, until what they left is forgotten.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// A client that has proven who it is. With this it gets a mailbox, once.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// Who it is.
    pub party: Party,
    /// When its proof stops to be good; its connection is then closed.
    pub expires_at: Timestamp,
    proof: Proof,
    proven_at: Timestamp,
    /// How many revocations there had been before the proof was examined.
    revocations: u64,
}

/// How a client has proven who it is.
#[derive(Debug, Clone)]
enum Proof {
    /// It need not: a conformance test.
    Guest,
    /// By the token of this hash, or a ticket for it.
    Token(String),
    /// By the key of its device, and the secret or a token.
    Device(DeviceKey, Secret),
    /// By its id, and a token where `[auth] mode` asks for one at this address.
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
    /// What a token opens, and until when. Errors: `Unauthorized`, `RateLimited`.
    pub async fn authenticate_token(
        &self,
        token: &Secret,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Admitted, DomainError> {
        self.rates.failed_logins_of_address.check(&peer.into())?;
        self.log_in(Some(hash_of(token)), peer, now).await
    }

    /// Opens what the token of this hash is good for; without one, or with a bad one, that is a failure of the address.
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

    /// What an MQTT client opens: a toy by device key and secret or token, an app by user id and token.
    ///
    /// Errors: `WrongCredentials` (also for a device that nobody has bound), `RateLimited`.
    pub async fn authenticate_client(
        &self,
        username: &str,
        password: Secret,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Admitted, DomainError> {
        self.rates.failed_logins_of_address.check(&peer.into())?;
        let admitted = match (DeviceKey::parse_lenient(username), username.parse::<UserId>()) {
            (Ok(key), _) => self.prove(Proof::Device(key, password), now).await?,
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
    /// Errors: `UnknownParty`, `Unauthorized` (no token where one is needed, or not the party's).
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

    /// What a proof opens now.
    async fn login_of(&self, proof: &Proof, now: Timestamp) -> Result<Option<Login>, DomainError> {
        match proof {
            Proof::Guest => Ok(Some(Login { party: guest(), expires_at: Timestamp::INFINITY })),
            Proof::Token(hash) => Ok(self.store.login(hash, now).await?),
            Proof::Device(key, secret) => self.toy_of_device(key, secret, now).await,
            Proof::Id(id, token, from) => match self.authorize_until(id, token.as_ref(), *from, now).await {
                Ok(login) => Ok(Some(login)),
                Err(DomainError::Unauthorized | DomainError::UnknownParty | DomainError::Erased) => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Attaches the mailbox of a client, unless it lost its right since it proved who it is. Errors: `Unauthorized`.
    pub(super) async fn attach_admitted(
        &self,
        admitted: &Admitted,
        attach: impl FnOnce() -> Mailbox,
    ) -> Result<Mailbox, DomainError> {
        #[cfg(test)]
        self.gate.pass().await;
        let mailbox = attach();
        if self.revocations.load(Ordering::SeqCst) != admitted.revocations && !matches!(admitted.proof, Proof::Guest) {
            let login = self.login_of(&admitted.proof, admitted.proven_at).await?;
            login.filter(|login| login.party == admitted.party).ok_or(DomainError::Unauthorized)?;
        }
        Ok(mailbox)
    }

    /// Ends the connections of a party whose right to them is gone in the database. Logins that are under way are
    /// refused. Returns when the connections have ended, or did not in time.
    pub(super) async fn end_connections(&self, party: &Party) {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        self.router.close_party(party, CloseReason::Revoked);
        if timeout(LEAVE_MAX, self.router.left(party)).await.is_err() {
            tracing::debug!("connections that were closed take their time");
        }
    }
}

/// Stops a login between its proof and its mailbox, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct Gate(std::sync::Mutex<Option<Turn>>);

#[cfg(test)]
type Turn = (tokio::sync::oneshot::Sender<()>, tokio::sync::oneshot::Receiver<()>);

#[cfg(test)]
impl Gate {
    /// The next login stops: the first end says that it has, the second one lets it go on.
    pub(crate) fn shut(&self) -> (tokio::sync::oneshot::Receiver<()>, tokio::sync::oneshot::Sender<()>) {
        let ((stopped, is_stopped), (open, is_open)) =
            (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
        *self.0.lock().unwrap() = Some((stopped, is_open));
        (is_stopped, open)
    }

    async fn pass(&self) {
        let turn = self.0.lock().unwrap().take();
        if let Some((stopped, is_open)) = turn {
            let _ = stopped.send(());
            let _ = is_open.await;
        }
    }
}
