//! The one error type of the domain: conditions, not libraries and not wire codes.

use crate::model::ToyId;
use crate::ports::files;
use crate::ports::space::{self, NoRoom};

/// Why a call failed. The text is safe to show to the caller.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The user name or the password is wrong; the answer does not tell which one.
    #[error("wrong username or password")]
    WrongCredentials,
    /// A token is missing, unknown, expired or another party's.
    #[error("log in first: a valid token is needed")]
    Unauthorized,
    /// Another account has this user name.
    #[error("this username is taken, choose another one")]
    NameTaken,
    /// No user or toy has this id. Also for one that the caller may not see.
    #[error("no such user or toy")]
    UnknownParty,
    /// No device has this key.
    #[error("Please scan the toy two-dimensional code")]
    UnknownDevice,
    /// The device is already a toy.
    #[error("Equipment has been bound")]
    DeviceBound(ToyId),
    /// No such chat, or not one of the caller's.
    #[error("no such chat")]
    UnknownChat,
    /// No such message, or not one to the caller.
    #[error("no such message")]
    UnknownMessage,
    /// No such friend request, or not one that the caller may answer.
    #[error("no such friend request")]
    UnknownRequest,
    /// No file has this name, or the caller may not download it.
    #[error("no such file")]
    UnknownFile,
    /// The user, toy or chat was erased.
    #[error("this user, toy or chat was erased")]
    Erased,
    /// The two are not friends, and messages can be sent to friends only.
    #[error("you are not friends, send a friend request first")]
    NotFriends,
    /// A party sends itself a friend request.
    #[error("you cannot be your own friend")]
    SelfRequest,
    /// The two are already friends.
    #[error("you are already friends")]
    AlreadyFriends,
    /// The same request has not been answered yet.
    #[error("this friend request is already waiting for an answer")]
    AlreadyRequested,
    /// The request has been accepted or refused before.
    #[error("this friend request has already been answered")]
    AlreadyAnswered,
    /// The same request was refused lately.
    #[error("this friend request was refused, it may be made again in {retry_after_s} seconds")]
    RefusedLately {
        /// Seconds to wait.
        retry_after_s: u64,
    },
    /// The requester has blocked the recipient.
    #[error("you have blocked this user or toy, unblock it first")]
    Blocked,
    /// The invitation is unknown, is for another purpose, was used or has expired.
    #[error("this invitation is not known here, was used or has expired")]
    UnknownInvite,
    /// The user is a guardian of the toy already.
    #[error("you are a guardian of this toy already")]
    AlreadyGuardian,
    /// A field is missing, too long or malformed.
    #[error("field {field}: {expected}")]
    Invalid {
        /// The documented field name.
        field: &'static str,
        /// The expected form.
        expected: String,
    },
    /// An address book, request list or other collection is full.
    #[error("there is no room for another {0}")]
    Full(&'static str),
    /// Too many attempts within a time.
    #[error("too many attempts, wait {retry_after_s} seconds")]
    RateLimited {
        /// Seconds to wait.
        retry_after_s: u64,
    },
    /// The upload cannot be decoded as a sound.
    #[error("this is not a sound recording that can be read")]
    NotSound,
    /// The recording holds no samples.
    #[error("the recording is empty")]
    EmptyRecording,
    /// The recording is longer than allowed.
    #[error("the recording is longer than {max_seconds} seconds")]
    RecordingTooLong {
        /// The limit.
        max_seconds: u32,
    },
    /// The upload is larger than allowed.
    #[error("the upload is larger than {max_bytes} bytes")]
    UploadTooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// The party has reached its storage limit.
    #[error("you have reached your storage limit of {max_bytes} bytes, erase messages first")]
    StoredFull {
        /// The limit.
        max_bytes: u64,
    },
    /// A recording in chunks is not complete.
    #[error("the recording is not complete, chunk {first} is missing")]
    ChunksMissing {
        /// The first missing chunk.
        first: u32,
    },
    /// No speech model is loaded, so recordings cannot be recognised.
    #[error("no speech model is loaded, the toy cannot understand recordings")]
    NoSpeechModel,
    /// The speech synthesis program is missing.
    #[error("the hub cannot speak, its speech synthesis program is missing")]
    NoSynthesiser,
    /// The requested events are no longer kept, or never existed: the device has to load everything again.
    #[error("this number is too old, load everything again and continue from {current}")]
    StreamTooOld {
        /// The number of the newest event.
        current: u64,
    },
    /// The database did not confirm whether a transaction was committed. The cause goes to the log only.
    #[error("the hub does not know whether this was done, try again")]
    OutcomeUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The queues of the workers are full.
    #[error("the hub is busy, try again")]
    Busy,
    /// The server of the database, or that of the files, is lost: nothing was done.
    #[error("the hub cannot reach its {0}, try again later")]
    Unavailable(&'static str),
    /// The disk is full: calls that add data are refused.
    #[error("the hub's disk is full, try again later")]
    DiskFull,
    /// The action is not permitted from this address.
    #[error("{0} is not possible from this network")]
    NotFromHere(&'static str),
    /// The party may not do this.
    #[error("not permitted")]
    Forbidden,
    /// A fault of the hub or of one of its ports. The cause goes to the log only.
    #[error("the hub has a fault, try again later")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl DomainError {
    /// A fault of the hub with this cause; `DiskFull` if the cause is a full disk, `Unavailable` if it is a file store
    /// that may work again by itself.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        if space::is_disk_full(cause.as_ref()) {
            return Self::DiskFull;
        }
        if files::is_unavailable(cause.as_ref()) {
            tracing::debug!(%cause, "a call is refused, as the file store is not available");
            return Self::Unavailable("store of files");
        }
        Self::Internal(cause)
    }

    /// The error for a wrong field.
    pub fn invalid(field: &'static str, expected: impl Into<String>) -> Self {
        Self::Invalid { field, expected: expected.into() }
    }
}

impl From<NoRoom> for DomainError {
    fn from(_: NoRoom) -> Self {
        Self::DiskFull
    }
}
