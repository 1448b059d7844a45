//! The API: one definition of each call, with its request, its answer, and the facts that the edges and the documents
//! need.
//!
//! A call is a request struct that implements [`Call`]: its fields are the parameters, [`Call::FACTS`] states where it
//! is served and who may call it, [`Call::Answer`] is the type of its answer, and [`Call::handle`] executes it. The
//! files of this module have one subject each and list their calls; [`SUBJECTS`] lists the files. HTTP, MQTT and the
//! app socket serve the registered calls, and `edge/spec` describes them.
//!
//! The caller is a type, too. A field `caller: CallerId<UserId>` has an id that is not checked yet. Only
//! [`CallContext::acting`] turns it into a `UserId`, after it has verified that the caller may act for that user.

pub mod accounts;
pub mod answer;
pub mod assistant;
pub mod audit;
pub mod chunks;
pub mod consent;
pub mod content;
pub mod erasure;
pub mod events;
pub mod export;
pub mod friends;
pub mod household;
mod kept_words;
mod push;
pub mod reading;
pub mod request;
pub mod rest;
pub mod schema;
mod toy_voices;
pub mod toys;
pub mod voice;

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::domain::error::DomainError;
use crate::domain::{Handover, Hub, LinksOf, Origin};
use crate::model::{FileName, Party, PartyId, PartyKind, Secret, Timestamp, ToyId, UserId};
use answer::{Link, Shape};
use request::{Field, FieldInfo, Given, Presence, Request, missing};
use schema::Components;

/// The name of a field or member on the wire.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}

pub(crate) use wire_name;

/// All subjects with their calls.
pub const SUBJECTS: &[Subject] = &[
    accounts::SUBJECT,
    content::SUBJECT,
    voice::SUBJECT,
    assistant::SUBJECT,
    toys::SUBJECT,
    friends::SUBJECT,
    household::SUBJECT,
    rest::SUBJECT,
    kept_words::SUBJECT,
    toy_voices::SUBJECT,
    push::SUBJECT,
    reading::SUBJECT,
    erasure::SUBJECT,
    export::SUBJECT,
    audit::SUBJECT,
    consent::SUBJECT,
    chunks::SUBJECT,
];

/// Calls about one subject.
#[derive(Clone, Copy)]
pub struct Subject {
    /// Its name in the documents.
    pub name: &'static str,
    /// A description of one sentence.
    pub about: &'static str,
    /// Its calls.
    pub calls: &'static [Entry],
}

/// All registered calls.
pub fn calls() -> impl Iterator<Item = &'static Entry> {
    SUBJECTS.iter().flat_map(|subject| subject.calls)
}

/// The call that connections request by this word.
pub fn call_of_word(word: &str) -> Option<&'static Entry> {
    calls().find(|call| call.facts.name == word && call.facts.served_at != ServedAt::Http)
}

/// Where a call is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedAt {
    /// At its path over HTTP, and by its word on the app socket and on MQTT's `out`.
    All,
    /// At its path over HTTP only.
    Http,
    /// By its word on connections only.
    Connection,
}

/// The callers that are permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permitted {
    /// Anybody.
    Anybody,
    /// A caller that presents a token.
    Token,
    /// A caller that may act for the party in the [`CallerId`] field of the request.
    Named,
    /// Such a caller that also presents a token: others at its address may not see or do this.
    NamedByToken,
    /// A caller that may act for the user who answers the friend request.
    Answerer,
    /// A client that has logged in on its connection.
    Connected,
}

/// The constant of a call.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The path over HTTP without its slash; the word of `do` on connections.
    pub name: &'static str,
    /// Where it is served.
    pub served_at: ServedAt,
    /// The callers that are permitted.
    pub permitted: Permitted,
    /// The documented `msg`. None for an answer that HTTP sends bare, without its envelope.
    pub msg: Option<&'static str>,
}

impl Facts {
    /// A call that is served everywhere, and answered in an envelope with `msg`.
    const fn new(name: &'static str, permitted: Permitted, msg: &'static str) -> Self {
        Self { name, served_at: ServedAt::All, permitted, msg: Some(msg) }
    }

    /// A call that is served everywhere, and answered bare.
    const fn bare(name: &'static str, permitted: Permitted) -> Self {
        Self { name, served_at: ServedAt::All, permitted, msg: None }
    }

    /// The same call, served at `served_at` only.
    const fn only_at(self, served_at: ServedAt) -> Self {
        Self { served_at, ..self }
    }
}

/// A call of the API.
pub trait Call: Request + Send + 'static {
    /// Its constant.
    const FACTS: Facts;

    /// The type of its answer.
    type Answer: Shape;

    /// Executes the call.
    fn handle(self, context: &CallContext) -> impl Future<Output = Result<Self::Answer, DomainError>> + Send;
}

/// A registered call.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its constant.
    pub facts: Facts,
    /// A description of one sentence.
    pub about: &'static str,
    /// Its fields.
    pub fields: fn() -> Vec<FieldInfo>,
    /// The schema of its answer, without an envelope.
    pub answer: fn(&mut Components) -> Value,
    /// Whether the request contains a recording.
    pub takes_recording: bool,
    run: for<'a> fn(&'a CallContext, Given) -> BoxFuture<'a, Result<Value, DomainError>>,
}

/// The answer of a call.
#[derive(Debug)]
pub struct Reply {
    /// The documented `msg`. None for an answer that HTTP sends bare.
    pub msg: Option<&'static str>,
    /// The finished JSON.
    pub data: Value,
}

impl Entry {
    /// The entry of the call `C`.
    pub const fn of<C: Call>() -> Self {
        Self {
            facts: C::FACTS,
            about: C::ABOUT,
            fields: C::fields,
            answer: C::Answer::schema,
            takes_recording: C::TAKES_RECORDING,
            run: |context, given| Box::pin(run::<C>(context, given)),
        }
    }

    /// Parses the request, executes the call, and serialises the answer. Errors: those of the call's method of the hub;
    /// `Invalid`.
    pub async fn run(&self, context: &CallContext, given: Given) -> Result<Reply, DomainError> {
        let data = (self.run)(context, given).await?;
        Ok(Reply { msg: self.facts.msg, data })
    }

    /// The party that a request with these fields acts for, if the caller may act for it. Errors: as
    /// [`CallContext::acting`].
    pub async fn caller(&self, context: &CallContext, given: &Given) -> Result<Caller, DomainError> {
        let fields = (self.fields)();
        let named = fields.iter().find_map(|field| match field.presence {
            Presence::Caller(kind) => Some((field.property.name, kind)),
            _ => None,
        });
        let Some((name, kind)) = named else { return Ok(Caller::Unnamed("token")) };
        let Some(id) = given.text(name).filter(|text| !text.trim().is_empty()) else {
            return Ok(Caller::Unnamed(name));
        };
        let party = context.act_for(&<PartyId as request::Text>::parse(name, &id)?).await?;
        if kind.is_some_and(|kind| kind != party.kind()) {
            return Err(DomainError::UnknownParty);
        }
        Ok(Caller::Known(party))
    }

    /// Whether a client of `kind` can use it on its connection.
    pub fn is_for(&self, kind: PartyKind) -> bool {
        let named = (self.fields)().into_iter().find_map(|field| match field.presence {
            Presence::Caller(kind) => kind,
            _ => None,
        });
        match self.facts.permitted {
            Permitted::Answerer => kind == PartyKind::App,
            Permitted::Anybody
            | Permitted::Token
            | Permitted::Named
            | Permitted::NamedByToken
            | Permitted::Connected => named.is_none_or(|only| only == kind),
        }
    }
}

/// The party that a request acts for.
pub enum Caller {
    /// The caller may act for this party.
    Known(Party),
    /// The field of this name is missing.
    Unnamed(&'static str),
}

async fn run<C: Call>(context: &CallContext, mut given: Given) -> Result<Value, DomainError> {
    let request = C::read(&mut given)?;
    drop(given);
    let answer = request.handle(context).await?;
    serde_json::to_value(answer).map_err(DomainError::internal)
}

/// The credential by which a call acts for a party.
pub enum Authority {
    /// The token of the request, if there is one. `[auth] mode` states what is permitted without.
    Token(Option<Secret>),
    /// The connection has logged in as this party.
    Party(Party),
}

/// The context of a request: the hub, the origin, the time and the credential.
pub struct CallContext {
    /// The hub.
    pub hub: Arc<Hub>,
    /// The origin of the request.
    pub from: Origin,
    /// The time of the request.
    pub now: Timestamp,
    /// The credential of the caller.
    pub authority: Authority,
    handover: Mutex<Option<Handover>>,
}

impl CallContext {
    /// The context of a request to the hub.
    pub fn new(hub: Arc<Hub>, from: Origin, now: Timestamp, authority: Authority) -> Self {
        Self { hub, from, now, authority, handover: Mutex::default() }
    }

    /// The answer hands unread messages over.
    fn hands_over(&self, handover: Option<Handover>) {
        *self.handover.lock().unwrap_or_else(PoisonError::into_inner) = handover;
    }

    /// The handover of the answer, if there is one: the edge completes it when it has sent the answer.
    pub fn take_handover(&self) -> Option<Handover> {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The token of the request. Errors: `Unauthorized` without one.
    fn token(&self) -> Result<&Secret, DomainError> {
        match &self.authority {
            Authority::Token(Some(token)) => Ok(token),
            Authority::Token(None) | Authority::Party(_) => Err(DomainError::Unauthorized),
        }
    }

    /// The links of the caller. A documented client without a token gets none.
    async fn links(&self) -> Result<CallersLinks, DomainError> {
        let links = match &self.authority {
            Authority::Token(Some(token)) => self.hub.links_of_token(token, self.now).await?,
            Authority::Token(None) => None,
            Authority::Party(party) => Some(self.hub.links_of(party).await?),
        };
        Ok(CallersLinks { links, now: self.now })
    }

    /// The party that the request names, if the caller may act for it. The field is optional for a client that has
    /// logged in on its connection. Errors: `Invalid`, `UnknownParty` (also for a party of the wrong kind), `Forbidden`
    /// (a call for the other kind, on a connection), `Unauthorized`.
    pub async fn acting<P: Acting>(&self, caller: CallerId<P>) -> Result<P, DomainError> {
        let party = match (&self.authority, caller.id) {
            (Authority::Party(party), None) => party.clone(),
            (Authority::Token(_), None) => return Err(missing(caller.name)),
            (_, Some(id)) => self.act_for(&id).await?,
        };
        self.hub.await_handovers(&party).await;
        // A connection may act for its own party only, so the kind of that party decides.
        let wrong_kind = match self.authority {
            Authority::Party(_) => DomainError::Forbidden,
            Authority::Token(_) => DomainError::UnknownParty,
        };
        P::of(party).ok_or(wrong_kind)
    }

    /// As [`Self::acting`], for a caller that presents a token. Errors: as there; `Unauthorized` without a token.
    pub async fn acting_by_token<P: Acting>(&self, caller: CallerId<P>) -> Result<P, DomainError> {
        match self.authority {
            Authority::Token(None) => Err(DomainError::Unauthorized),
            Authority::Token(Some(_)) | Authority::Party(_) => self.acting(caller).await,
        }
    }

    /// The party that the request names, if the caller may act for it or is a guardian of the toy that it names; and
    /// whether the caller is a guardian. Errors: as [`Self::acting`].
    pub async fn acting_or_guarding(&self, caller: CallerId<Party>) -> Result<(Party, bool), DomainError> {
        let found = match (&self.authority, caller.id) {
            (Authority::Party(party), None) => Ok((party.clone(), false)),
            (Authority::Token(_), None) => Err(missing(caller.name)),
            (Authority::Party(party), Some(id)) if party.id() == id.as_str() => Ok((party.clone(), false)),
            (Authority::Party(Party::User(user)), Some(id)) => {
                Ok((Party::Toy(self.hub.toy_of(user, &id).await?), true))
            }
            (Authority::Party(Party::Toy(_)), Some(_)) => Err(DomainError::UnknownParty),
            (Authority::Token(token), Some(id)) => {
                self.hub.authorize_for(&id, token.as_ref(), self.from, self.now).await
            }
        };
        let (party, is_guardian) = found?;
        self.hub.await_handovers(&party).await;
        Ok((party, is_guardian))
    }

    /// The user that the request names, and for whom the user acts: itself, or a toy of the user. Errors: as
    /// [`Self::acting`]; `UnknownParty` for another user's toy.
    pub async fn acting_with(
        &self,
        caller: CallerId<UserId>,
        toy: Option<ToyId>,
    ) -> Result<(UserId, Party), DomainError> {
        let user = self.acting(caller).await?;
        let Some(toy) = toy else { return Ok((user.clone(), Party::User(user))) };
        self.hub.check_guardian(&user, &toy).await?;
        Ok((user, Party::Toy(toy)))
    }

    /// The party of this id, if the caller may act for it. Errors: `UnknownParty`, `Unauthorized`.
    pub async fn act_for(&self, id: &PartyId) -> Result<Party, DomainError> {
        match &self.authority {
            Authority::Token(token) => self.hub.authorize(id, token.as_ref(), self.from, self.now).await,
            Authority::Party(party) if party.id() == id.as_str() => Ok(party.clone()),
            // An id of the wrong kind gets the answer of an unknown one.
            Authority::Party(_) => Err(DomainError::UnknownParty),
        }
    }

    /// Checks whether a request that names no party is permitted. Errors: `Unauthorized`.
    pub async fn anybody(&self) -> Result<(), DomainError> {
        match &self.authority {
            Authority::Token(token) => self.hub.authorize_anybody(token.as_ref(), self.from, self.now).await,
            Authority::Party(_) => Ok(()),
        }
    }

    /// The party that has logged in on its connection. Errors: `Unauthorized` without one.
    fn connected(&self) -> Result<&Party, DomainError> {
        match &self.authority {
            Authority::Party(party) => Ok(party),
            Authority::Token(_) => Err(DomainError::Unauthorized),
        }
    }
}

/// Creates the links to the sounds of an answer, for the caller.
pub struct CallersLinks {
    links: Option<LinksOf>,
    now: Timestamp,
}

impl CallersLinks {
    /// The link to a sound, if the caller gets links.
    fn to(&self, name: &FileName) -> Option<Link> {
        self.links.as_ref().map(|links| Link::of(name, links, self.now))
    }
}

/// Kinds of parties that a request can act for.
pub trait Acting: Sized {
    /// The required kind, if there is one.
    const KIND: Option<PartyKind>;

    /// The party as this kind.
    fn of(party: Party) -> Option<Self>;
}

impl Acting for Party {
    const KIND: Option<PartyKind> = None;

    fn of(party: Party) -> Option<Self> {
        Some(party)
    }
}

impl Acting for UserId {
    const KIND: Option<PartyKind> = Some(PartyKind::App);

    fn of(party: Party) -> Option<Self> {
        match party {
            Party::User(user) => Some(user),
            Party::Toy(_) => None,
        }
    }
}

impl Acting for ToyId {
    const KIND: Option<PartyKind> = Some(PartyKind::Toy);

    fn of(party: Party) -> Option<Self> {
        match party {
            Party::Toy(toy) => Some(toy),
            Party::User(_) => None,
        }
    }
}

/// The field that names the caller. Only [`CallContext::acting`] turns it into a party.
pub struct CallerId<P> {
    name: &'static str,
    id: Option<PartyId>,
    kind: PhantomData<P>,
}

impl<P: Acting> Field for CallerId<P> {
    const PRESENCE: Presence = Presence::Caller(P::KIND);

    fn schema() -> Value {
        schema::id()
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError> {
        let id = Option::<PartyId>::read(name, given)?;
        Ok(Self { name, id, kind: PhantomData })
    }
}

#[cfg(test)]
mod tests;
