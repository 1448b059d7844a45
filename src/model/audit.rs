//! The audit log: the actions of adults that concern a toy or a user.

use super::Timestamp;
use super::ids::PartyId;

/// An action in the audit log of a toy or user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Messages of the toy were read; one entry for each hour and reader.
    Read,
    /// The toy was bound.
    Bound,
    /// The toy was unbound.
    Unbound,
    /// A friend request was accepted.
    Befriended,
    /// A friendship was ended.
    Parted,
    /// A message was erased.
    ErasedMessage,
    /// A chat was erased.
    ErasedChat,
    /// The data of the family was exported.
    Exported,
    /// The operator of the hub has made a change.
    Operated,
    /// A user became a guardian of the toy.
    GuardianAdded,
    /// A guardian of the toy was removed.
    GuardianRemoved,
    /// Another party was blocked.
    Blocked,
    /// A block was removed.
    Unblocked,
    /// The password of the user was changed.
    PasswordChanged,
    /// The toy's device got a new secret.
    SecretRenewed,
    /// The toy was opened by its device key at an address where it had not been before.
    OpenedAnew,
    /// A guardian turned on that the words of the toy's child are kept.
    WordsTurnedOn,
    /// That was turned off, which deletes the kept words.
    WordsTurnedOff,
    /// The kept words of the toy's child were read; one entry for each hour and reader.
    WordsRead,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 19] = [
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
        Self::WordsTurnedOn,
        Self::WordsTurnedOff,
        Self::WordsRead,
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
            Self::WordsTurnedOn => "words_turned_on",
            Self::WordsTurnedOff => "words_turned_off",
            Self::WordsRead => "words_read",
        }
    }

    /// The action of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }
}

/// What the operator of the hub changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setting {
    /// The quiet hours of the toy.
    QuietHours,
    /// The daily minutes of the toy.
    DailyMinutes,
    /// Whether the toy plays only approved content.
    Content,
    /// The approval of a piece of content for the toy.
    Approval,
    /// The voice of the toy.
    Voice,
    /// The permission to open the toy once at a new address.
    LetIn,
    /// Whether calls for the party need a token.
    OnlyToken,
    /// An invitation to become a guardian of the toy.
    Invitation,
    /// All logins of the user, which were ended.
    Logins,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::QuietHours,
        Self::DailyMinutes,
        Self::Content,
        Self::Approval,
        Self::Voice,
        Self::LetIn,
        Self::OnlyToken,
        Self::Invitation,
        Self::Logins,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QuietHours => "quiet_hours",
            Self::DailyMinutes => "daily_minutes",
            Self::Content => "content",
            Self::Approval => "approval",
            Self::Voice => "voice",
            Self::LetIn => "let_in",
            Self::OnlyToken => "only_token",
            Self::Invitation => "invitation",
            Self::Logins => "logins",
        }
    }

    /// The setting of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.as_str() == word)
    }
}

/// An entry of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// The toy or user that it is about.
    pub subject: PartyId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// The actor; none for the operator of the hub.
    pub actor: Option<PartyId>,
    /// The other party, for an action between two.
    pub about: Option<PartyId>,
    /// The address of an action at an address.
    pub place: Option<String>,
    /// What the operator of the hub changed; none of other actions, and of entries from before version 12.
    pub setting: Option<Setting>,
}
