//! Plain data that every room knows: ids, names, entities and events.
//!
//! No I/O, no wire format, no clock. A value of one of these types is valid by
//! construction, so that the rooms below an edge never check a string again.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use rand::Rng;

/// A text that is not a valid id, key or name. The message names the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// What counts as one client address in every limit: an IPv4 address, or the /64 network of an IPv6 address, all of which
/// one household may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => Self(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into()),
        }
    }
}

impl Network {
    /// Its address; the first one of an IPv6 network.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Network {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpAddr>().map(Self::from)
    }
}

fn is_lower_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0u8; bytes];
    // `rand::rng` is a cryptographically secure generator seeded by the system.
    rand::rng().fill_bytes(&mut buffer);
    hex::encode(buffer)
}

/// A newtype over lower-case hexadecimal text of a fixed length.
macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $digits:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// A new value from the system's secure random source.
            pub fn random() -> Self {
                Self(random_hex($digits / 2).into())
            }

            /// The hexadecimal digits.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Malformed;

            fn from_str(text: &str) -> Result<Self, Malformed> {
                if is_lower_hex(text, $digits) {
                    Ok(Self(text.into()))
                } else {
                    Err(Malformed($expected))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

hex_id!(
    /// The identity of a hub's data: 24 lower-case hexadecimal digits.
    HubId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// An app user: 24 lower-case hexadecimal digits (96 random bits).
    UserId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A toy, created when its device is bound: 24 hexadecimal digits.
    ToyId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A chat window between two parties: 24 hexadecimal digits.
    ChatId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A friend request: 24 hexadecimal digits.
    RequestId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// A piece of content, such as a song: 24 hexadecimal digits.
    ContentId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// One accepted voice message: 24 hexadecimal digits. Receivers drop repeats by it.
    MessageId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// An id from a client whose kind is not known yet: a user's or a toy's.
    PartyId, 24, "an id has 24 lower-case hexadecimal digits"
);
hex_id!(
    /// The key that a device is made with and that its QR picture shows: 32 hexadecimal digits.
    DeviceKey, 32, "a device key has 32 lower-case hexadecimal digits"
);

impl ToyId {
    /// Twenty-four zeros: an id that no toy is given, since the random source never gives it in practice.
    const NOBODY: &str = "000000000000000000000000";

    /// The id of nobody's toy.
    pub fn nobody() -> Self {
        Self(Self::NOBODY.into())
    }

    /// Whether this is the id of nobody's toy.
    pub fn is_nobody(&self) -> bool {
        &*self.0 == Self::NOBODY
    }
}

impl DeviceKey {
    /// The key that a client sent: scanners and keyboards may send capitals or blanks.
    pub fn parse_lenient(text: &str) -> Result<Self, Malformed> {
        text.trim().to_ascii_lowercase().parse()
    }
}

/// Which kind of client a party is. On the wire: `"app"` or `"toy"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PartyKind {
    /// A person with the app.
    App,
    /// A toy.
    Toy,
}

impl PartyKind {
    /// The word of the contract: `"app"` or `"toy"`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Toy => "toy",
        }
    }
}

/// Someone who sends and receives messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Party {
    /// A person with the app.
    User(UserId),
    /// A toy.
    Toy(ToyId),
}

impl Party {
    /// The 24 digits of the id, whatever its kind.
    pub fn id(&self) -> &str {
        match self {
            Self::User(id) => id.as_str(),
            Self::Toy(id) => id.as_str(),
        }
    }

    /// The kind of this party.
    pub fn kind(&self) -> PartyKind {
        match self {
            Self::User(_) => PartyKind::App,
            Self::Toy(_) => PartyKind::Toy,
        }
    }

    /// A party of `kind` with the digits of `id`.
    pub fn new(kind: PartyKind, id: &PartyId) -> Self {
        match kind {
            PartyKind::App => Self::User(UserId(id.0.clone())),
            PartyKind::Toy => Self::Toy(ToyId(id.0.clone())),
        }
    }

    /// How a log names it: by the first digits of its id. A log outlives what is erased, and the whole id opens things.
    pub fn in_log(&self) -> String {
        let id = self.id();
        format!("{}/{}…", self.kind().as_str(), &id[..id.len().min(8)])
    }

    /// The topic that this party receives its events on (`app/<id>/in`, `toy/<id>/in`).
    pub fn inbox(&self) -> Topic {
        Topic(format!("{self}/in").into())
    }

    /// The topic on which this party is sent chunk `number` of a file.
    pub fn chunk_topic(&self, file: &FileName, number: u64) -> Topic {
        Topic(format!("{self}/file/{file}/{number}").into())
    }
}

impl From<UserId> for Party {
    fn from(id: UserId) -> Self {
        Self::User(id)
    }
}

impl From<ToyId> for Party {
    fn from(id: ToyId) -> Self {
        Self::Toy(id)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind().as_str(), self.id())
    }
}

/// The name of a stored file: 1–120 letters, digits, `-`, `_` and `.`, not starting with a dot.
///
/// Such a name cannot leave its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName(Box<str>);

impl FileName {
    /// A new name that nobody can guess: 128 random bits and the `extension`, given without a dot.
    pub fn random(extension: &str) -> Self {
        Self(format!("{}.{extension}", random_hex(16)).into())
    }

    /// The name, with its extension.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last dot, or nothing.
    pub fn extension(&self) -> &str {
        self.0.rsplit_once('.').map_or("", |(_, extension)| extension)
    }
}

impl FromStr for FileName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if (1..=120).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed("a file name has 1 to 120 letters, digits, '-', '_' and '.', and no leading dot"))
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What its sender calls a recording that comes in chunks: 1–32 letters, digits, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadName(Box<str>);

impl UploadName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed("an upload's name has 1 to 32 letters, digits, '-' and '_'"))
        }
    }
}

/// The topic name of a publish: MQTT 3.1.1 §4.7, not empty, no wildcards, no NUL, at most 65,535 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Box<str>);

impl Topic {
    /// The topic's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() || text.len() > 65_535 || text.contains(['+', '#', '\0']) {
            return Err(Malformed("a topic name is not empty and has no '+', '#' or NUL"));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A subscription's topic filter: MQTT 3.1.1 §4.7.1. `+` stands for one level, a final `#` for the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Box<str>);

impl TopicFilter {
    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a publish to `topic` matches. A wildcard in the first level does not match `$…` topics (§4.7.2).
    pub fn matches(&self, topic: &Topic) -> bool {
        let topic = topic.as_str();
        if topic.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = topic.split('/');
        for level in self.0.split('/') {
            if level == "#" {
                return true;
            }
            match levels.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl From<&Topic> for TopicFilter {
    fn from(topic: &Topic) -> Self {
        Self(topic.0.clone())
    }
}

impl FromStr for TopicFilter {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        const EXPECTED: Malformed = Malformed("a topic filter is not empty; '+' fills a level, '#' is the last level");
        if text.is_empty() || text.len() > 65_535 || text.contains('\0') {
            return Err(EXPECTED);
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            let good = match level {
                "+" => true,
                "#" => is_last,
                name => !name.contains(['+', '#']),
            };
            if !good {
                return Err(EXPECTED);
            }
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Quality of service of a publish or a subscription (MQTT 3.1.1 §4.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum QoS {
    /// Sent once, without acknowledgement.
    #[default]
    AtMostOnce = 0,
    /// Acknowledged; may come twice.
    AtLeastOnce = 1,
    /// Acknowledged in two steps; comes once.
    ExactlyOnce = 2,
}

/// Seconds since 1970-01-01 UTC, with a fraction; the contract's `create_time`.
pub type Timestamp = f64;

/// A person with the app.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// The name to log in with.
    pub username: String,
    /// The name that others see.
    pub nickname: String,
    /// `"1"` or `"2"`, as the app sent it.
    pub gender: String,
    /// A picture of `/get_image/`.
    pub avatar: FileName,
}

/// A toy that is bound to a user.
#[derive(Debug, Clone, PartialEq)]
pub struct Toy {
    /// Which.
    pub id: ToyId,
    /// The device that it runs on.
    pub device_key: DeviceKey,
    /// The user that it is bound to.
    pub bind_user: UserId,
    /// The toy's name.
    pub toy_name: String,
    /// The child's name.
    pub baby_name: String,
    /// As the owner's, `"1"` or `"2"`.
    pub gender: String,
    /// A picture of `/get_image/`.
    pub avatar: FileName,
}

/// One side's entry for a friend in its address book.
#[derive(Debug, Clone, PartialEq)]
pub struct Friend {
    /// The friend.
    pub party: Party,
    /// The name that the friend bears.
    pub nickname: String,
    /// The name that the owner of the address book gave.
    pub remark: String,
    /// A picture of `/get_image/`.
    pub avatar: FileName,
    /// The chat window of the two.
    pub chat: ChatId,
    /// Messages of this friend that the owner has not heard.
    pub unread: u64,
    /// Whether the messages of this friend are not announced.
    pub is_muted: bool,
}

/// What has become of a friend request; on the wire 0, 1, 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStatus {
    /// Not answered.
    Pending = 0,
    /// Accepted.
    Accepted = 1,
    /// Refused.
    Refused = 2,
}

/// A friend request as its receiver sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct FriendRequest {
    /// Which.
    pub id: RequestId,
    /// Who asks.
    pub requester: Party,
    /// Who is asked.
    pub requestee: Party,
    /// Whose answer it waits for: the toy that asks, until a guardian of it has agreed, then the requestee. A user
    /// answers itself, for a toy each of its guardians does.
    pub answerer: Party,
    /// The words sent along.
    pub info: String,
    /// The requester's name for the requestee.
    pub remark: String,
    /// The requester's picture.
    pub avatar: FileName,
    /// The requester's name.
    pub nickname: String,
    /// The requestee's name.
    pub toy_name: String,
    /// Whether and how it was answered.
    pub status: RequestStatus,
}

impl FriendRequest {
    /// The event by which those who may answer are notified.
    pub fn event(&self) -> Event {
        Event::FriendRequest {
            id: self.id.clone(),
            requester: self.requester.clone(),
            requestee: self.requestee.clone(),
        }
    }
}

/// What was done, as the record of a toy or user says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Messages of the toy were read; one entry for each hour and reader.
    Read,
    /// The toy was bound.
    Bound,
    /// The toy's life with the family has ended.
    Unbound,
    /// A friendship was agreed to.
    Befriended,
    /// A friendship was ended.
    Parted,
    /// A message was erased.
    ErasedMessage,
    /// A chat was erased.
    ErasedChat,
    /// Everything of the family was exported.
    Exported,
    /// Whoever runs the hub has changed something.
    Operated,
    /// Somebody has become a guardian of the toy.
    GuardianAdded,
    /// A guardian of the toy is one no more.
    GuardianRemoved,
    /// Another party was blocked.
    Blocked,
    /// A block was lifted.
    Unblocked,
    /// The user has another password.
    PasswordChanged,
    /// The toy's device has another secret.
    SecretRenewed,
    /// The toy was opened by its device key at an address where it had not been before.
    OpenedAnew,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Read,
        Self::Bound,
        Self::Unbound,
        Self::Befriended,
        Self::Parted,
        Self::ErasedMessage,
        Self::ErasedChat,
        Self::Exported,
        Self::Operated,
        Self::GuardianAdded,
        Self::GuardianRemoved,
        Self::Blocked,
        Self::Unblocked,
        Self::PasswordChanged,
        Self::SecretRenewed,
        Self::OpenedAnew,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Bound => "bound",
            Self::Unbound => "unbound",
            Self::Befriended => "befriended",
            Self::Parted => "parted",
            Self::ErasedMessage => "erased_message",
            Self::ErasedChat => "erased_chat",
            Self::Exported => "exported",
            Self::Operated => "operated",
            Self::GuardianAdded => "guardian_added",
            Self::GuardianRemoved => "guardian_removed",
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
            Self::PasswordChanged => "password_changed",
            Self::SecretRenewed => "secret_renewed",
            Self::OpenedAnew => "opened_anew",
        }
    }

    /// The action of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// An entry of the record: who did what, when.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// The toy or user that it is about.
    pub subject: PartyId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// Who; none for whoever runs the hub.
    pub actor: Option<PartyId>,
    /// With whom, where two are concerned.
    pub about: Option<PartyId>,
    /// The address at which it was done, where it is about one.
    pub place: Option<String>,
}

/// One voice message of a chat.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Which.
    pub id: MessageId,
    /// Its number in its chat, by which it has its place.
    pub seq: u64,
    /// Whose words.
    pub from: Party,
    /// The recording, of `/get_chat/`.
    pub sound: FileName,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// How far a message has come; each state implies those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageState {
    /// It is stored.
    Sent,
    /// A device of the receiver has it.
    Delivered,
    /// The receiver has heard it.
    Heard,
}

impl MessageState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Heard => "heard",
        }
    }
}

/// A song or story of the content library.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Which.
    pub id: ContentId,
    /// The title.
    pub title: String,
    /// The sound, of `/get_music/`.
    pub music: FileName,
    /// The picture, of `/get_image/`.
    pub cover: FileName,
}

/// A device of the equipment library.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its key, which the QR picture shows.
    pub key: DeviceKey,
    /// The toy that it became when a user bound it.
    pub toy: Option<ToyId>,
}

/// A minute of a day, as a clock on the wall shows it: `07:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DayMinute(u16);

impl DayMinute {
    /// Minutes of a day.
    const ALL: u16 = 24 * 60;

    /// The minute of an hour; beyond a day, the last one.
    pub fn of(hour: u16, minute: u16) -> Self {
        Self((hour.saturating_mul(60).saturating_add(minute)).min(Self::ALL - 1))
    }

    /// The minute of this number, from 0.
    pub fn from_number(number: u16) -> Option<Self> {
        (number < Self::ALL).then_some(Self(number))
    }

    /// Its number, from 0.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl FromStr for DayMinute {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        const EXPECTED: Malformed = Malformed("a time of day is from 00:00 to 23:59");
        let (hour, minute) = text.split_once(':').ok_or(EXPECTED)?;
        let is_short = hour.len() <= 2 && minute.len() == 2;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        match (hour.parse::<u16>(), minute.parse::<u16>()) {
            (Ok(hour @ 0..24), Ok(minute @ 0..60)) if is_short && digits(text.replace(':', "").as_str()) => {
                Ok(Self::of(hour, minute))
            }
            _ => Err(EXPECTED),
        }
    }
}

impl fmt::Display for DayMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// The hours of each day in which a toy is quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietHours {
    /// When they begin.
    pub from: DayMinute,
    /// When they end; the minute itself is not quiet any more. Before `from`, it is one of the next day.
    pub until: DayMinute,
    /// The IANA name of the family's time zone.
    pub zone: String,
}

impl QuietHours {
    /// Whether they include a minute of the day.
    pub fn include(&self, minute: DayMinute) -> bool {
        if self.from <= self.until {
            self.from <= minute && minute < self.until
        } else {
            self.from <= minute || minute < self.until
        }
    }
}

/// How long a toy plays on each day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailyMinutes {
    /// The minutes.
    pub minutes: u16,
    /// The IANA name of the family's time zone, which says when a day begins.
    pub zone: String,
}

impl DailyMinutes {
    /// Minutes of a day.
    pub const MAX: u16 = 24 * 60;
}

/// What a toy has played on a day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Played {
    /// The day, as a number that its zone's calendar gives it.
    pub day: i64,
    /// For how many seconds.
    pub seconds: f64,
}

/// A secret text: a password, a token, a device secret. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text that must not be logged.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// 256 bits from the system's secure random source, in 64 hexadecimal digits.
    pub fn random() -> Self {
        Self(random_hex(32))
    }

    /// A code that people type: 60 bits from the system's secure random source, in twelve signs that look like no other.
    pub fn invite_code() -> Self {
        const SIGNS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        let mut bytes = [0u8; 12];
        rand::rng().fill_bytes(&mut bytes);
        let signs = bytes.map(|byte| char::from(SIGNS[usize::from(byte % 32)]));
        Self(signs.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a good token or ticket opens.
#[derive(Debug, Clone, PartialEq)]
pub struct Login {
    /// Whose it is.
    pub party: Party,
    /// When it stops to be good; what was opened with it is then closed.
    pub expires_at: Timestamp,
}

/// What a friend has somebody play.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlayedSound {
    /// Of `/get_music/`.
    Music(FileName),
    /// Of `/get_chat/`.
    Chat(FileName),
}

/// What a toy does to what it plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToyCommand {
    /// Be quiet.
    Stop,
    /// Turn the volume up.
    Louder,
    /// Turn the volume down.
    Softer,
}

impl ToyCommand {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Louder => "louder",
            Self::Softer => "softer",
        }
    }
}

/// What has happened to a party, published on its inbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A new voice message.
    Message {
        /// To drop repeats by.
        id: MessageId,
        /// Who sent it.
        from: Party,
        /// The chat window that it stands in.
        chat: ChatId,
        /// The recording, of `/get_chat/`.
        sound: FileName,
        /// A spoken "you have a message from …", of `/get_chat/`; none where it could not be spoken.
        notice: Option<FileName>,
        /// When it was accepted.
        created_at: Timestamp,
    },
    /// A friend has the party play a sound, now; it is not kept.
    Play {
        /// Which friend.
        from: Party,
        /// What to play.
        sound: PlayedSound,
    },
    /// A command of the child to the toy, for now; it is not kept.
    Command(ToyCommand),
    /// Somebody asks to be a friend of the user or of a toy of the user, or a toy of the user asks somebody.
    FriendRequest {
        /// To answer it by.
        id: RequestId,
        /// Who asks.
        requester: Party,
        /// Who is asked.
        requestee: Party,
    },
    /// Something was erased: what a device has loaded before may be gone, and the device loads all again.
    Erased,
    /// A request was accepted: the address book has a new entry.
    FriendAdded {
        /// The new friend.
        friend: Party,
        /// The chat window of the two.
        chat: ChatId,
    },
    /// A friendship has ended: the address book has lost an entry.
    FriendRemoved {
        /// The former friend.
        friend: Party,
        /// The chat window that the two had.
        chat: ChatId,
    },
    /// A toy of the user, which knows only its device key, is refused at a place where it is not let in.
    ToyWantsIn {
        /// The toy.
        toy: ToyId,
        /// The place: an IPv4 address, or the first address of an IPv6 network.
        place: String,
    },
    /// A toy of the user was opened by its device key at a new address, at which no guardian of it has proved itself.
    ToyOpened {
        /// The toy.
        toy: ToyId,
        /// The place: an IPv4 address, or the first address of an IPv6 network.
        place: String,
    },
    /// Messages of this party's own have come further.
    Receipt {
        /// How far.
        state: MessageState,
        /// The newest of them; those before it have come as far at least.
        up_to: MessageId,
        /// Their chat.
        chat: ChatId,
        /// Who has received or heard them.
        by: Party,
    },
    /// This party has heard messages, on whichever of its devices.
    Read {
        /// Who sent them.
        friend: Party,
        /// Their chat.
        chat: ChatId,
        /// How many of that friend are still unheard.
        unread: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_24_lower_case_hex_digits() {
        assert!("5c8f582f268d7942f44c6703".parse::<UserId>().is_ok());
        for bad in ["", "5c8f", "5C8F582F268D7942F44C6703", "5c8f582f268d7942f44c670g", "../../../../etc/passwd/x"] {
            assert!(bad.parse::<UserId>().is_err(), "{bad}");
        }
        assert_ne!(UserId::random(), UserId::random());
        assert!(ToyId::random().as_str().parse::<ToyId>().is_ok());
    }

    #[test]
    fn file_names_cannot_leave_their_folder() {
        for good in ["Success.mp3", "1552898221960.amr.mp3", "ba7462dd-62a5-460c-bfab-bb64edd7c983.wav"] {
            assert!(good.parse::<FileName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ü.mp3", "a\0b", "%2e%2e"] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/x", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("/+", "/a", true),
            ("+", "/a", false),
            ("你/+", "你/好", true),
        ];
        for (filter, topic, expected) in cases {
            let filter: TopicFilter = filter.parse().unwrap();
            let topic: Topic = topic.parse().unwrap();
            assert_eq!(filter.matches(&topic), expected, "{filter} {topic}");
        }
        for bad in ["", "a#", "a/#/b", "a+/b", "#/a", "a\0"] {
            assert!(bad.parse::<TopicFilter>().is_err(), "{bad:?}");
        }
        for bad in ["", "a/+", "a/#", "\0"] {
            assert!(bad.parse::<Topic>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn quiet_hours_go_over_midnight() {
        let minute = |text: &str| text.parse::<DayMinute>().unwrap();
        let hours = |from, until| QuietHours { from: minute(from), until: minute(until), zone: "UTC".into() };
        for (from, until, at, expected) in [
            ("20:00", "07:00", "19:59", false),
            ("20:00", "07:00", "20:00", true),
            ("20:00", "07:00", "00:00", true),
            ("20:00", "07:00", "06:59", true),
            ("20:00", "07:00", "07:00", false),
            ("13:00", "14:30", "13:00", true),
            ("13:00", "14:30", "14:30", false),
            ("13:00", "14:30", "00:00", false),
            ("00:00", "23:59", "23:59", false),
        ] {
            assert_eq!(hours(from, until).include(minute(at)), expected, "{from} {until} {at}");
        }
        for bad in ["", "7", "24:00", "12:60", "1:2", "+1:00", "12:00:00", "a:bc", "-1:00"] {
            assert!(bad.parse::<DayMinute>().is_err(), "{bad}");
        }
        assert_eq!(minute("7:05").to_string(), "07:05");
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }
}

/// How much a hub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Users.
    pub users: u64,
    /// Toys.
    pub toys: u64,
    /// Voice messages.
    pub messages: u64,
}
