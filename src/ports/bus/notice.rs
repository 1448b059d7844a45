//! The messages of the bus, their topics and their form.
//!
//! A payload is an envelope in MessagePack with named fields: a version, the hub, its process and a number that counts
//! what this process has sent; and the content. Fields may be added; unknown ones are ignored, and unknown content, of a
//! newer version, is dropped.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::event_form::EventForm;
use crate::model::{Event, Malformed, Party, QoS, Timestamp, Topic, ToyId};
use crate::ports::clock;
use crate::ports::router::{EarlyDeliveries, Fingerprint, ForwardId, Publication, Subscription};

/// The version of the envelope.
const VERSION: u8 = 1;
/// The maximum number of parties in one message of a roster.
pub(super) const ROSTER_PAGE: usize = 1000;

/// A process of a hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubName {
    /// The name of the hub.
    pub hub: String,
    /// When the process was started: milliseconds since 1970. A later process has a greater one.
    pub epoch: u64,
}

/// A publication of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientPublication {
    /// Its identity; none at QoS 0, which is not stored.
    pub id: Option<ForwardId>,
    /// Its topic.
    pub topic: Topic,
    /// Its payload.
    pub payload: Bytes,
    /// The publisher's quality of service.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// The version of a retained one: when it was published.
    pub version: Option<Timestamp>,
    /// When it was published, unlike any other of its hub; none at QoS 0, and of older hubs.
    pub published_at: Option<Timestamp>,
    /// The properties of MQTT 5.
    pub properties: Bytes,
    /// When it expires, as a time for ages.
    pub expires_at: Option<Timestamp>,
}

impl ClientPublication {
    /// A publication of a session that moves.
    pub fn moved(publication: &Publication, published_at: Option<Timestamp>) -> Self {
        Self::new(publication, None, None, published_at)
    }

    /// The publication, on the hub that has received it.
    pub fn into_publication(self) -> Publication {
        let Self { topic, payload, qos, retain, properties, expires_at, .. } = self;
        Publication { topic, payload: payload.into(), qos, retain, publisher: None, properties, expires_at }
    }

    fn weight(&self) -> usize {
        FRAME + self.topic.as_str().len() + self.payload.len() + self.properties.len()
    }

    pub(super) fn new(
        publication: &Publication,
        id: Option<ForwardId>,
        version: Option<Timestamp>,
        published_at: Option<Timestamp>,
    ) -> Self {
        Self {
            id,
            topic: publication.topic.clone(),
            // It may be a slice of a large read buffer.
            payload: Bytes::copy_from_slice(publication.payload.bytes()),
            qos: publication.qos,
            retain: publication.retain,
            version: version.filter(|_| publication.retain),
            published_at,
            properties: Bytes::copy_from_slice(&publication.properties),
            expires_at: publication.expires_at,
        }
    }
}

/// What moves of a session beside its messages.
#[derive(Debug, Clone, PartialEq)]
pub struct MovingSession {
    /// Its subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// Packet ids of QoS 2 messages that the client has not released.
    pub received: Vec<u16>,
    /// Packet ids of QoS 2 messages that the client has received, and that were not released to it.
    pub released: Vec<u16>,
    /// What the client has got of the messages that an earlier session of it may have, too.
    pub delivered: Option<EarlyDeliveries>,
    /// The messages that the client may have received, with the numbers that make their packet ids. They are among those that
    /// follow, too.
    pub in_flight: Vec<(u64, MovedMessage)>,
}

/// A message of a session that moves.
#[derive(Debug, Clone, PartialEq)]
pub struct MovedMessage {
    /// The publication.
    pub publication: ClientPublication,
    /// The quality of service that it is delivered at.
    pub qos: QoS,
    /// The retain flag to send.
    pub retain: bool,
}

impl MovedMessage {
    /// About how many bytes it needs.
    pub fn weight(&self) -> usize {
        self.publication.weight()
    }
}

/// What a fingerprint needs.
pub const FINGERPRINT_BYTES: usize = 9;
/// What a message needs besides its content.
const FRAME: usize = 200;

/// A message of one hub to all others.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// An event of a party, after its commit, with its number in the user's stream.
    Event {
        /// The party.
        party: Party,
        /// The event.
        event: Box<Event>,
        /// Its number.
        seq: Option<u64>,
    },
    /// The connections of a party end, as its logins were revoked.
    End {
        /// The party.
        party: Party,
        /// Whether the party was erased: its sessions end, too.
        is_erased: bool,
    },
    /// A client of MQTT has connected to the hub: its earlier connections to other hubs end.
    Taken {
        /// The party.
        party: Party,
        /// The client id.
        client_id: String,
        /// When it connected, as a time for ages.
        since: Timestamp,
    },
    /// A client has connected to the hub: another one may have its session.
    SessionWanted {
        /// The hub that has it.
        to: String,
        /// The party.
        party: Party,
        /// The client id.
        client_id: String,
        /// Names the move in all messages of it; none if the session is to end.
        call: Option<u64>,
    },
    /// The answer: the session, or none if there is none.
    SessionFound {
        /// The hub that asked.
        to: String,
        /// The move.
        call: u64,
        /// The session.
        session: Option<MovingSession>,
    },
    /// The client of the session is subscribed: its messages may come.
    SessionReady {
        /// The hub that has it.
        to: String,
        /// The move.
        call: u64,
    },
    /// Messages of the session, in order.
    SessionMessages {
        /// The hub that asked.
        to: String,
        /// The move.
        call: u64,
        /// The messages.
        messages: Vec<MovedMessage>,
        /// Whether there are no more so far.
        is_last: bool,
    },
    /// The messages up to the last one are on disk.
    SessionStored {
        /// The hub that has the session.
        to: String,
        /// The move.
        call: u64,
    },
    /// The session has ended at the hub that had it.
    SessionEnded {
        /// The hub that asked.
        to: String,
        /// The move.
        call: u64,
    },
    /// The hub that asked has given up: the session stays where it is.
    SessionDeclined {
        /// The hub that has the session.
        to: String,
        /// The move.
        call: u64,
    },
    /// The hub that has the session of a client may get what another one has kept of an earlier one.
    SessionLeft {
        /// The hub that has the session.
        to: String,
        /// The party.
        party: Party,
        /// The client id.
        client_id: String,
    },
    /// A party has lost the permission for topics: its subscriptions to them end.
    Lost {
        /// The party.
        party: Party,
        /// Topics, and beginnings of topics, which end with '/'.
        topics: Vec<String>,
    },
    /// Retained messages are deleted.
    Forget {
        /// The first two levels of their topics, or a beginning of topics, which ends with '/'.
        topics: String,
    },
    /// Everything that contains one of these ids is to be deleted from the files of each hub.
    Erase {
        /// Ids of parties, chats or messages.
        subjects: Vec<String>,
    },
    /// The settings or the reminders of a toy were changed.
    Settings {
        /// The toy.
        toy: ToyId,
    },
    /// A publication of a client.
    Publication(Box<ClientPublication>),
    /// A process of a hub begins, or is on the bus again: the others send their rosters.
    Hello,
    /// A part of the parties that are connected to the hub.
    Roster {
        /// Whether it is the first part.
        is_first: bool,
        /// Whether it is the last part: all parts together replace what was known.
        is_last: bool,
        /// The parties.
        parties: Vec<Party>,
    },
    /// Parties that have connected to the hub, or have left it.
    Moved {
        /// The parties, and whether they are connected now; in order.
        parties: Vec<(Party, bool)>,
    },
    /// The others send their rosters, as some of their messages were lost.
    RosterRequest,
    /// The hub has lost messages before they could be sent.
    Dropped,
    /// A sign of life.
    Heartbeat {
        /// The clock of the hub, when it was sent; none of older versions.
        at: Option<Timestamp>,
    },
    /// The hub is not on the bus any more.
    Gone,
}

impl Notice {
    /// The topic below the prefix.
    pub(super) fn topic(&self, hub: &str) -> String {
        match self {
            Self::Event { party, .. } => format!("in/{party}"),
            Self::End { party, .. } | Self::Lost { party, .. } => format!("end/{party}"),
            Self::Taken { party, .. } => format!("take/{party}"),
            Self::SessionWanted { .. }
            | Self::SessionFound { .. }
            | Self::SessionReady { .. }
            | Self::SessionMessages { .. }
            | Self::SessionStored { .. }
            | Self::SessionEnded { .. }
            | Self::SessionDeclined { .. }
            | Self::SessionLeft { .. } => format!("to/{}", self.receiver().unwrap_or_default()),
            Self::Publication(publication) => format!("say/{}", publication.topic),
            Self::Forget { .. }
            | Self::Erase { .. }
            | Self::Settings { .. }
            | Self::Hello
            | Self::Roster { .. }
            | Self::Moved { .. }
            | Self::RosterRequest
            | Self::Dropped
            | Self::Heartbeat { .. }
            | Self::Gone => format!("hub/{hub}"),
        }
    }

    /// The hub that alone receives it; none if all do.
    pub(super) fn receiver(&self) -> Option<&str> {
        match self {
            Self::SessionWanted { to, .. }
            | Self::SessionFound { to, .. }
            | Self::SessionReady { to, .. }
            | Self::SessionMessages { to, .. }
            | Self::SessionStored { to, .. }
            | Self::SessionEnded { to, .. }
            | Self::SessionDeclined { to, .. }
            | Self::SessionLeft { to, .. } => Some(to),
            _ => None,
        }
    }

    /// The id of a publication that is stored until the broker has it.
    pub(super) fn forward_id(&self) -> Option<ForwardId> {
        match self {
            Self::Publication(publication) => publication.id,
            _ => None,
        }
    }

    /// Whether it is out of date once the hub has lost its connection to the broker: the next connection begins with a
    /// hello and the whole roster.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(
            self,
            Self::Hello
                | Self::Roster { .. }
                | Self::Moved { .. }
                | Self::RosterRequest
                | Self::Heartbeat { .. }
                | Self::Gone
        )
    }

    /// About how many bytes it needs.
    pub(super) fn weight(&self) -> usize {
        FRAME
            + match self {
                Self::Event { .. } => 400,
                Self::Publication(publication) => publication.weight(),
                Self::SessionMessages { messages, .. } => messages.iter().map(MovedMessage::weight).sum(),
                Self::SessionFound { session, .. } => session.as_ref().map_or(0, |session| {
                    let texts = session.subscriptions.iter().map(|subscription| 40 + subscription.text().len());
                    let ids = (session.received.len() + session.released.len()) * 3;
                    let delivered = session.delivered.as_ref().map_or(0, |delivered| delivered.messages.len());
                    let in_flight = session.in_flight.iter().map(|(_, message)| message.weight());
                    texts.sum::<usize>() + ids + delivered * FINGERPRINT_BYTES + in_flight.sum::<usize>()
                }),
                Self::SessionWanted { client_id, .. } | Self::SessionLeft { client_id, .. } => client_id.len(),
                Self::Roster { parties, .. } => parties.len() * 32,
                Self::Moved { parties } => parties.len() * 36,
                Self::Lost { topics: texts, .. } | Self::Erase { subjects: texts } => {
                    texts.iter().map(String::len).sum()
                }
                Self::Forget { topics } => topics.len(),
                Self::Taken { client_id, .. } => client_id.len(),
                Self::SessionReady { .. }
                | Self::SessionStored { .. }
                | Self::SessionEnded { .. }
                | Self::SessionDeclined { .. }
                | Self::End { .. }
                | Self::Settings { .. }
                | Self::Hello
                | Self::RosterRequest
                | Self::Dropped
                | Self::Heartbeat { .. }
                | Self::Gone => 0,
            }
    }
}

/// The filters that all hubs subscribe to, below the prefix. Each has `to/<its name>` besides.
pub(super) const FILTERS: [&str; 5] = ["in/+/+", "end/+/+", "take/+/+", "hub/+", "say/#"];

#[derive(Debug, Serialize, Deserialize)]
struct EnvelopeForm {
    v: u8,
    hub: String,
    epoch: u64,
    /// The number of a message to all hubs, from 1.
    n: u64,
    /// The number of a message to one hub, from 1. Older hubs number all of them together.
    #[serde(default)]
    d: u64,
    notice: NoticeForm,
}

/// The members of every version of the envelope.
#[derive(Debug, Deserialize)]
struct Head {
    v: u8,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoticeForm {
    Event {
        party: String,
        event: EventForm,
        seq: Option<u64>,
    },
    End {
        party: String,
        is_erased: bool,
    },
    Taken {
        party: String,
        client_id: String,
        since: f64,
    },
    SessionWanted {
        to: String,
        party: String,
        client_id: String,
        call: Option<u64>,
    },
    SessionFound {
        to: String,
        call: u64,
        session: Option<SessionForm>,
    },
    SessionReady {
        to: String,
        call: u64,
    },
    SessionMessages {
        to: String,
        call: u64,
        messages: Vec<MovedForm>,
        is_last: bool,
    },
    SessionStored {
        to: String,
        call: u64,
    },
    SessionEnded {
        to: String,
        call: u64,
    },
    SessionDeclined {
        to: String,
        call: u64,
    },
    SessionLeft {
        to: String,
        party: String,
        client_id: String,
    },
    Lost {
        party: String,
        topics: Vec<String>,
    },
    Forget {
        topics: String,
    },
    Erase {
        subjects: Vec<String>,
    },
    Settings {
        toy: String,
    },
    Publication(PublicationForm),
    Hello {},
    Roster {
        is_first: bool,
        is_last: bool,
        parties: Vec<String>,
    },
    Moved {
        parties: Vec<(String, bool)>,
    },
    RosterRequest {},
    Dropped {},
    Heartbeat {
        #[serde(default)]
        at: Option<f64>,
    },
    Gone {},
}

#[derive(Debug, Serialize, Deserialize)]
struct PublicationForm {
    /// Stream and number.
    #[serde(default)]
    id: Option<(u64, u64)>,
    topic: String,
    payload: Bytes,
    qos: u8,
    retain: bool,
    #[serde(default)]
    version: Option<f64>,
    #[serde(default)]
    at: Option<f64>,
    properties: Bytes,
    /// Hubs have clocks of their own: the seconds that are left.
    expires_in_s: Option<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionForm {
    /// Filter, quality of service, options, identifier.
    subscriptions: Vec<(String, u8, u8, u32)>,
    received: Vec<u16>,
    /// Older hubs have none.
    #[serde(default)]
    released: Vec<u16>,
    /// Up to when they were published, and the fingerprints. Older hubs have none.
    #[serde(default)]
    delivered: Option<(Timestamp, Vec<u64>)>,
    /// Older hubs have none.
    #[serde(default)]
    in_flight: Vec<(u64, MovedForm)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MovedForm {
    publication: PublicationForm,
    qos: u8,
    retain: bool,
}

fn qos_of(number: u8) -> QoS {
    match number {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

impl From<&ClientPublication> for PublicationForm {
    fn from(publication: &ClientPublication) -> Self {
        Self {
            id: publication.id.map(|id| (id.stream, id.number)),
            topic: publication.topic.to_string(),
            payload: publication.payload.clone(),
            qos: publication.qos as u8,
            retain: publication.retain,
            version: publication.version,
            at: publication.published_at,
            properties: publication.properties.clone(),
            expires_in_s: publication.expires_at.map(|at| at - clock::age_now()),
        }
    }
}

impl TryFrom<PublicationForm> for ClientPublication {
    type Error = Malformed;

    fn try_from(form: PublicationForm) -> Result<Self, Malformed> {
        Ok(Self {
            id: form.id.map(|(stream, number)| ForwardId { stream, number }),
            topic: form.topic.parse()?,
            payload: form.payload,
            qos: qos_of(form.qos),
            retain: form.retain,
            version: form.version,
            published_at: form.at,
            properties: form.properties,
            expires_at: form.expires_in_s.map(|left| clock::age_now() + left),
        })
    }
}

impl From<&MovedMessage> for MovedForm {
    fn from(MovedMessage { publication, qos, retain }: &MovedMessage) -> Self {
        Self { publication: publication.into(), qos: *qos as u8, retain: *retain }
    }
}

impl TryFrom<MovedForm> for MovedMessage {
    type Error = Malformed;

    fn try_from(MovedForm { publication, qos, retain }: MovedForm) -> Result<Self, Malformed> {
        Ok(Self { publication: ClientPublication::try_from(publication)?, qos: qos_of(qos), retain })
    }
}

impl From<&MovingSession> for SessionForm {
    fn from(session: &MovingSession) -> Self {
        let form = |of: &Subscription| (of.text(), of.qos as u8, of.options, of.id);
        Self {
            subscriptions: session.subscriptions.iter().map(form).collect(),
            received: session.received.clone(),
            released: session.released.clone(),
            delivered: session.delivered.as_ref().map(|EarlyDeliveries { until, messages }| {
                let numbers = messages.iter().map(|Fingerprint(number)| *number);
                (*until, numbers.collect())
            }),
            in_flight: session.in_flight.iter().map(|(seq, message)| (*seq, message.into())).collect(),
        }
    }
}

impl TryFrom<SessionForm> for MovingSession {
    type Error = Malformed;

    fn try_from(form: SessionForm) -> Result<Self, Malformed> {
        let subscription = |(text, qos, options, id): (String, u8, u8, u32)| {
            Subscription::from_text(&text, qos_of(qos), options, id).ok_or(Malformed("a subscription has a filter"))
        };
        let subscriptions: Result<_, Malformed> = form.subscriptions.into_iter().map(subscription).collect();
        let delivered = form.delivered.map(|(until, numbers)| {
            let messages = numbers.into_iter().map(Fingerprint).collect();
            EarlyDeliveries { until, messages }
        });
        let in_flight = form.in_flight.into_iter().map(|(seq, message)| Ok((seq, message.try_into()?)));
        Ok(Self {
            subscriptions: subscriptions?,
            received: form.received,
            released: form.released,
            delivered,
            in_flight: in_flight.collect::<Result<_, Malformed>>()?,
        })
    }
}

/// A message of a hub, as it was received.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Envelope {
    pub(super) from: HubName,
    pub(super) number: Number,
    pub(super) notice: Notice,
}

/// The number of a message, counted from 1. A hub misses none of those to all hubs, and does not see those to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// The last will: it is in no order with the others.
    None,
    /// Of the messages of the process to all hubs.
    ToAll(u64),
    /// Of its messages to single hubs.
    ToOne(u64),
}

/// Why a payload of the bus is dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is of a newer version of toyhub")]
    Newer,
    #[error("it is no message of a hub")]
    Malformed,
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Envelope {
    /// The payload.
    pub(super) fn encode(&self) -> Vec<u8> {
        let form = match &self.notice {
            Notice::Event { party, event, seq } => {
                NoticeForm::Event { party: party.to_string(), event: EventForm::from(&**event), seq: *seq }
            }
            Notice::End { party, is_erased } => NoticeForm::End { party: party.to_string(), is_erased: *is_erased },
            Notice::Taken { party, client_id, since } => {
                NoticeForm::Taken { party: party.to_string(), client_id: client_id.clone(), since: *since }
            }
            Notice::Lost { party, topics } => NoticeForm::Lost { party: party.to_string(), topics: topics.clone() },
            Notice::Forget { topics } => NoticeForm::Forget { topics: topics.clone() },
            Notice::Erase { subjects } => NoticeForm::Erase { subjects: subjects.clone() },
            Notice::Settings { toy } => NoticeForm::Settings { toy: toy.to_string() },
            Notice::Publication(publication) => NoticeForm::Publication((&**publication).into()),
            Notice::SessionWanted { to, party, client_id, call } => {
                let (to, party, client_id) = (to.clone(), party.to_string(), client_id.clone());
                NoticeForm::SessionWanted { to, party, client_id, call: *call }
            }
            Notice::SessionFound { to, call, session } => {
                let session = session.as_ref().map(SessionForm::from);
                NoticeForm::SessionFound { to: to.clone(), call: *call, session }
            }
            Notice::SessionReady { to, call } => NoticeForm::SessionReady { to: to.clone(), call: *call },
            Notice::SessionMessages { to, call, messages, is_last } => {
                let messages = messages.iter().map(MovedForm::from).collect();
                NoticeForm::SessionMessages { to: to.clone(), call: *call, messages, is_last: *is_last }
            }
            Notice::SessionStored { to, call } => NoticeForm::SessionStored { to: to.clone(), call: *call },
            Notice::SessionEnded { to, call } => NoticeForm::SessionEnded { to: to.clone(), call: *call },
            Notice::SessionDeclined { to, call } => NoticeForm::SessionDeclined { to: to.clone(), call: *call },
            Notice::SessionLeft { to, party, client_id } => {
                let (to, party, client_id) = (to.clone(), party.to_string(), client_id.clone());
                NoticeForm::SessionLeft { to, party, client_id }
            }
            Notice::Hello => NoticeForm::Hello {},
            Notice::Roster { is_first, is_last, parties } => {
                let parties = parties.iter().map(Party::to_string).collect();
                NoticeForm::Roster { is_first: *is_first, is_last: *is_last, parties }
            }
            Notice::Moved { parties } => {
                let parties = parties.iter().map(|(party, is_here)| (party.to_string(), *is_here)).collect();
                NoticeForm::Moved { parties }
            }
            Notice::RosterRequest => NoticeForm::RosterRequest {},
            Notice::Dropped => NoticeForm::Dropped {},
            Notice::Heartbeat { at } => NoticeForm::Heartbeat { at: *at },
            Notice::Gone => NoticeForm::Gone {},
        };
        let HubName { hub, epoch } = &self.from;
        let (n, d) = match self.number {
            Number::None => (0, 0),
            Number::ToAll(number) => (number, 0),
            Number::ToOne(number) => (0, number),
        };
        let envelope = EnvelopeForm { v: VERSION, hub: hub.clone(), epoch: *epoch, n, d, notice: form };
        // Writing to memory does not fail.
        rmp_serde::to_vec_named(&envelope).unwrap_or_default()
    }

    /// Reads a payload. Errors: `Newer` for what this version does not know.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, Unreadable> {
        let Head { v } = rmp_serde::from_slice(payload).map_err(|_| Unreadable::Malformed)?;
        let envelope: EnvelopeForm = match rmp_serde::from_slice(payload) {
            Ok(envelope) => envelope,
            Err(_) if v > VERSION => return Err(Unreadable::Newer),
            Err(_) => return Err(Unreadable::Malformed),
        };
        let notice = match envelope.notice {
            NoticeForm::Event { party, event, seq } => {
                Notice::Event { party: party.parse()?, event: Box::new(event.try_into()?), seq }
            }
            NoticeForm::End { party, is_erased } => Notice::End { party: party.parse()?, is_erased },
            NoticeForm::Taken { party, client_id, since } => Notice::Taken { party: party.parse()?, client_id, since },
            NoticeForm::Lost { party, topics } => Notice::Lost { party: party.parse()?, topics },
            NoticeForm::Forget { topics } => Notice::Forget { topics },
            NoticeForm::Erase { subjects } => Notice::Erase { subjects },
            NoticeForm::Settings { toy } => Notice::Settings { toy: toy.parse()? },
            NoticeForm::Publication(publication) => Notice::Publication(Box::new(publication.try_into()?)),
            NoticeForm::SessionWanted { to, party, client_id, call } => {
                Notice::SessionWanted { to, party: party.parse()?, client_id, call }
            }
            NoticeForm::SessionFound { to, call, session } => {
                Notice::SessionFound { to, call, session: session.map(MovingSession::try_from).transpose()? }
            }
            NoticeForm::SessionReady { to, call } => Notice::SessionReady { to, call },
            NoticeForm::SessionMessages { to, call, messages, is_last } => {
                let messages: Result<_, Malformed> = messages.into_iter().map(MovedMessage::try_from).collect();
                Notice::SessionMessages { to, call, messages: messages?, is_last }
            }
            NoticeForm::SessionStored { to, call } => Notice::SessionStored { to, call },
            NoticeForm::SessionEnded { to, call } => Notice::SessionEnded { to, call },
            NoticeForm::SessionDeclined { to, call } => Notice::SessionDeclined { to, call },
            NoticeForm::SessionLeft { to, party, client_id } => {
                Notice::SessionLeft { to, party: party.parse()?, client_id }
            }
            NoticeForm::Hello {} => Notice::Hello,
            NoticeForm::Roster { is_first, is_last, parties } => {
                let parties: Result<_, Malformed> = parties.iter().map(|party| party.parse()).collect();
                Notice::Roster { is_first, is_last, parties: parties? }
            }
            NoticeForm::Moved { parties } => {
                let parties = parties.iter().map(|(party, is_here)| Ok((party.parse()?, *is_here)));
                Notice::Moved { parties: parties.collect::<Result<_, Malformed>>()? }
            }
            NoticeForm::RosterRequest {} => Notice::RosterRequest,
            NoticeForm::Dropped {} => Notice::Dropped,
            NoticeForm::Heartbeat { at } => Notice::Heartbeat { at },
            NoticeForm::Gone {} => Notice::Gone,
        };
        let from = HubName { hub: envelope.hub, epoch: envelope.epoch };
        let number = match (envelope.n, envelope.d) {
            (0, 0) => Number::None,
            (0, number) => Number::ToOne(number),
            (number, _) => Number::ToAll(number),
        };
        Ok(Self { from, number, notice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        ChatId, ChildWords, FileName, MessageId, MessageState, PlayedSound, ReminderId, ReminderKind, RequestId,
        ToyCommand, UserId,
    };

    fn envelope(notice: Notice) -> Envelope {
        Envelope { from: HubName { hub: "a".into(), epoch: 1_764_000_000_000 }, number: Number::ToAll(7), notice }
    }

    fn events() -> Vec<Event> {
        let (toy, user) = (Party::Toy(ToyId::random()), Party::User(UserId::random()));
        let (chat, sound) = (ChatId::random(), FileName::random("mp3"));
        let receipt = |state| Event::Receipt { state, up_to: MessageId::random(), chat: chat.clone(), by: toy.clone() };
        vec![
            Event::Message {
                id: MessageId::random(),
                from: user.clone(),
                chat: chat.clone(),
                sound: sound.clone(),
                notice: Some(sound.clone()),
                created_at: 1.5,
            },
            Event::Play { from: user.clone(), sound: PlayedSound::Music(sound.clone()) },
            Event::Play { from: user.clone(), sound: PlayedSound::Chat(sound.clone()) },
            Event::Command(ToyCommand::Louder),
            Event::Reminder {
                id: ReminderId::random(),
                kind: ReminderKind::Alarm,
                words: ChildWords("get up".into()),
                due: 2.5,
                sound: None,
            },
            Event::FriendRequest { id: RequestId::random(), requester: user.clone(), requestee: toy.clone() },
            Event::Erased,
            Event::FriendAdded { friend: toy.clone(), chat: chat.clone() },
            Event::FriendRemoved { friend: toy.clone(), chat: chat.clone() },
            Event::ToyWantsIn { toy: ToyId::random(), place: "10.0.0.1".into() },
            Event::ToyOpened { toy: ToyId::random(), place: "10.0.0.1".into() },
            receipt(MessageState::Delivered),
            receipt(MessageState::Heard),
            Event::Read { friend: toy.clone(), chat, unread: 3 },
        ]
    }

    #[test]
    fn every_message_comes_back_as_it_was() {
        let party = Party::User(UserId::random());
        let publication = ClientPublication {
            id: Some(ForwardId { stream: 1_764_000_000_000, number: 3 }),
            topic: "toy/5c8f582f268d7942f44c6703/cmd/volume".parse().unwrap(),
            payload: Bytes::from_static(&[0, 255, 7]),
            qos: QoS::ExactlyOnce,
            retain: true,
            version: Some(1_764_000_000.25),
            published_at: Some(1_764_000_000.125),
            properties: Bytes::from_static(&[1, 1]),
            expires_at: None,
        };
        let news = events().into_iter().map(|event| Notice::Event {
            party: party.clone(),
            event: Box::new(event),
            seq: Some(9),
        });
        let others = [
            Notice::End { party: party.clone(), is_erased: true },
            Notice::Taken { party: party.clone(), client_id: "线".into(), since: 1.5 },
            Notice::Lost { party: party.clone(), topics: vec!["toy/5c8f582f268d7942f44c6703/".into()] },
            Notice::Forget { topics: "chat/5c8f582f268d7942f44c6703".into() },
            Notice::Erase { subjects: vec!["5c8f582f268d7942f44c6703".into()] },
            Notice::Settings { toy: ToyId::random() },
            Notice::SessionWanted {
                to: "b".into(),
                party: party.clone(),
                client_id: "线".into(),
                call: Some(u64::MAX),
            },
            Notice::SessionFound {
                to: "b".into(),
                call: 7,
                session: Some(MovingSession {
                    subscriptions: vec![Subscription::from_text("$share/g/toy/+/x", QoS::ExactlyOnce, 3, 9).unwrap()],
                    received: vec![1, u16::MAX],
                    released: vec![7],
                    delivered: Some(EarlyDeliveries { until: 1_764_000_010.5, messages: vec![Fingerprint(u64::MAX)] }),
                    in_flight: vec![(
                        70_000,
                        MovedMessage { publication: publication.clone(), qos: QoS::ExactlyOnce, retain: false },
                    )],
                }),
            },
            Notice::SessionFound { to: "b".into(), call: 7, session: None },
            Notice::SessionReady { to: "b".into(), call: 7 },
            Notice::SessionMessages {
                to: "b".into(),
                call: 7,
                messages: vec![MovedMessage { publication: publication.clone(), qos: QoS::AtLeastOnce, retain: true }],
                is_last: true,
            },
            Notice::SessionStored { to: "b".into(), call: 7 },
            Notice::SessionEnded { to: "b".into(), call: 7 },
            Notice::SessionDeclined { to: "b".into(), call: 7 },
            Notice::SessionLeft { to: "b".into(), party: party.clone(), client_id: "线".into() },
            Notice::Publication(Box::new(publication)),
            Notice::Hello,
            Notice::Roster { is_first: true, is_last: false, parties: vec![party.clone()] },
            Notice::Moved { parties: vec![(party.clone(), true), (party.clone(), false)] },
            Notice::RosterRequest,
            Notice::Dropped,
            Notice::Heartbeat { at: Some(1_764_000_000.25) },
            Notice::Heartbeat { at: None },
            Notice::Gone,
        ];
        for notice in news.chain(others) {
            assert_eq!(Envelope::decode(&envelope(notice.clone()).encode()), Ok(envelope(notice)));
        }
        for number in [Number::None, Number::ToAll(1), Number::ToOne(1)] {
            let envelope = Envelope { number, ..envelope(Notice::Hello) };
            assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
    }

    #[test]
    fn an_expiry_is_what_is_left() {
        let expires_at = clock::age_now() + 60.0;
        let (topic, payload) = ("chat/5c8f582f268d7942f44c6703".parse().unwrap(), Bytes::new());
        let publication = ClientPublication {
            id: None,
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            version: None,
            published_at: None,
            properties: Bytes::new(),
            expires_at: Some(expires_at),
        };
        let Notice::Publication(publication) =
            Envelope::decode(&envelope(Notice::Publication(Box::new(publication))).encode()).unwrap().notice
        else {
            panic!()
        };
        assert!((publication.expires_at.unwrap() - expires_at).abs() < 5.0);
    }

    #[test]
    fn a_sign_of_life_of_an_older_version_has_no_time() {
        #[derive(Serialize)]
        struct Older {
            v: u8,
            hub: &'static str,
            epoch: u64,
            n: u64,
            notice: OlderNotice,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum OlderNotice {
            Heartbeat {},
        }
        let older = Older { v: 1, hub: "a", epoch: 1, n: 1, notice: OlderNotice::Heartbeat {} };
        let read = Envelope::decode(&rmp_serde::to_vec_named(&older).unwrap()).unwrap();
        assert_eq!(read.notice, Notice::Heartbeat { at: None });
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let beat = envelope(Notice::Heartbeat { at: None }).encode();
        for cut in 0..beat.len() {
            assert!(Envelope::decode(&beat[..cut]).is_err(), "{cut}");
        }
        assert_eq!(Envelope::decode(b"hello"), Err(Unreadable::Malformed));
        #[derive(Serialize)]
        struct Newer {
            v: u8,
            hub: &'static str,
            epoch: u64,
            n: u64,
            notice: &'static str,
            more: bool,
        }
        let newer =
            |v| rmp_serde::to_vec_named(&Newer { v, hub: "a", epoch: 1, n: 1, notice: "unknown", more: true }).unwrap();
        assert_eq!(Envelope::decode(&newer(2)), Err(Unreadable::Newer));
        assert_eq!(Envelope::decode(&newer(1)), Err(Unreadable::Malformed));
    }
}
