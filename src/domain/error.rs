//! The one error type of the domain: conditions, not libraries and not wire codes.

use crate::model::ToyId;
use crate::ports::space::{self, NoRoom};

/// Why the hub did not do what was asked. The text is safe to show to the person who asked.
#[derive(Debug, thiserror::Error)]
pub enum DomainError {
    /// The user name or the password is wrong; which one is not told.
    #[error("wrong username or password")]
    WrongCredentials,
    /// A token is missing, unknown, expired or somebody else's.
    #[error("log in first: a valid token is needed")]
    Unauthorized,
    /// Another account has this user name.
    #[error("this username is taken, choose another one")]
    NameTaken,
    /// No user or toy has this id. Also said of what the asker may not know of.
    #[error("no such user or toy")]
    UnknownParty,
    /// No device has this key.
    #[error("Please scan the toy two-dimensional code")]
    UnknownDevice,
    /// The device is already a toy.
    #[error("Equipment has been bound")]
    DeviceBound(ToyId),
    /// No such chat, or not one of the asker's.
    #[error("no such chat")]
    UnknownChat,
    /// No such message, or not one to the asker.
    #[error("no such message")]
    UnknownMessage,
    /// No such request, or not one that the asker may answer.
    #[error("no such friend request")]
    UnknownRequest,
    /// Nothing is stored under this name, or not for the asker.
    #[error("no such file")]
    UnknownFile,
    /// The user, toy or chat was erased.
    #[error("this user, toy or chat was erased")]
    Erased,
    /// Messages go to friends only.
    #[error("you are not friends, send a friend request first")]
    NotFriends,
    /// A party asks itself to be a friend.
    #[error("you cannot be your own friend")]
    SelfRequest,
    /// The two are friends.
    #[error("you are already friends")]
    AlreadyFriends,
    /// The same request waits for its answer.
    #[error("this friend request is already waiting for an answer")]
    AlreadyRequested,
    /// The request has been accepted or refused before.
    #[error("this friend request has already been answered")]
    AlreadyAnswered,
    /// The same request was refused, and may be made again later.
    #[error("this friend request was refused, it may be made again in {retry_after_s} seconds")]
    RefusedLately {
        /// Seconds to wait.
        retry_after_s: u64,
    },
    /// The party has blocked the one that it asks.
    #[error("you have blocked this user or toy, unblock it first")]
    Blocked,
    /// No such invitation, or not for this; or it was used, or has expired.
    #[error("this invitation is not known here, was used or has expired")]
    UnknownInvite,
    /// The user is a guardian of the toy already.
    #[error("you are a guardian of this toy already")]
    AlreadyGuardian,
    /// A field is missing, too long or of the wrong shape.
    #[error("field {field}: {expected}")]
    Invalid {
        /// The documented field name.
        field: &'static str,
        /// What is expected of it.
        expected: String,
    },
    /// One address book, request list or other collection is full.
    #[error("there is no room for another {0}")]
    Full(&'static str),
    /// Too many tries; come back later.
    #[error("too many tries, wait {retry_after_s} seconds")]
    RateLimited {
        /// Seconds to wait.
        retry_after_s: u64,
    },
    /// The upload holds no sound that the hub can read.
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
    /// The party has stored as much as it may.
    #[error("you have stored {max_bytes} bytes, which is all that you may; erase messages first")]
    StoredFull {
        /// The limit.
        max_bytes: u64,
    },
    /// A recording that comes in chunks is not complete.
    #[error("the recording is not complete, chunk {first} is missing")]
    ChunksMissing {
        /// The first chunk that has not come.
        first: u32,
    },
    /// No speech model is loaded, so a recording cannot be understood.
    #[error("no speech model is loaded, the toy cannot understand recordings")]
    NoSpeechModel,
    /// The program that speaks is not there.
    #[error("the hub cannot speak, its synthesiser is missing")]
    NoSynthesiser,
    /// The events that a device asks for are not kept any more, or were never told: it has to load all again.
    #[error("this is too old, load all again and go on from {current}")]
    StreamTooOld {
        /// The number of the newest event.
        current: u64,
    },
    /// The database did not say whether it has done what was asked. The cause goes to the log only.
    #[error("the hub cannot tell whether this was done, try again")]
    OutcomeUnknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// All workers have more to do than they may queue.
    #[error("the hub is busy, try again")]
    Busy,
    /// What would add data is refused until the disk has room again.
    #[error("the hub's disk is full, try again later")]
    DiskFull,
    /// The hub does not do this for clients of this address.
    #[error("{0} is not possible from this network")]
    NotFromHere(&'static str),
    /// The party may not do this.
    #[error("not permitted")]
    Forbidden,
    /// A fault of the hub or of what it stands on. The cause goes to the log only.
    #[error("the hub has a fault, try again later")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl DomainError {
    /// A fault of the hub, caused by `cause`; or `DiskFull`, where that is the cause.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause = cause.into();
        if space::is_disk_full(cause.as_ref()) { Self::DiskFull } else { Self::Internal(cause) }
    }

    /// A field that is not as it should be.
    pub fn invalid(field: &'static str, expected: impl Into<String>) -> Self {
        Self::Invalid { field, expected: expected.into() }
    }
}

impl From<NoRoom> for DomainError {
    fn from(_: NoRoom) -> Self {
        Self::DiskFull
    }
}
