//! The reason codes of MQTT: every error of the hub and every fault of a client has its code here.

use rumqttd::protocol::{ConnectReturnCode, PubAckReason, PubRecReason, SubscribeReasonCode, UnsubAckReason};

use crate::domain::error::DomainError;
use crate::ports::router::CloseReason;

/// A client breaks the protocol or a limit: its connection ends (v5 §4.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed,
    Protocol,
    PacketTooLarge,
    TopicName,
    /// A topic alias that is 0, unknown or above what CONNACK allows (v5 §3.3.2.3.4).
    TopicAlias,
    /// More unfinished QoS 2 messages than CONNACK allows (v5 §3.2.2.3.3).
    ReceiveMaximum,
    /// The hub cannot take a message now. 3.1.1 has no code for that: the message is not acknowledged.
    Unavailable,
    /// The hub cannot store a message: its disk is full.
    NoRoom,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client sent DISCONNECT.
    Disconnected { with_will: bool },
    /// The connection was closed or reset by the client.
    Lost,
    /// The client sent nothing for one and a half times the keep alive (MQTT 3.1.1 §3.1.2.10).
    KeepAlive,
    /// The client did not read in time.
    WriteTimeout,
    /// The client broke the protocol or a limit.
    Fault(Fault),
    /// The hub closes the connection.
    Closed(CloseReason),
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl End {
    /// Whether the client's will is published: always but after a clean DISCONNECT (MQTT 3.1.1 §3.1.2.5).
    pub(super) fn publishes_will(self) -> bool {
        self != Self::Disconnected { with_will: false }
    }

    /// Whether it is no fault of the client, and does not count as a failed connection of its address. What the hub has no
    /// room for now is none: a client of 3.1.1 has to connect again to learn that.
    pub(super) fn is_orderly(self) -> bool {
        matches!(self, Self::Disconnected { .. } | Self::Closed(_) | Self::Fault(Fault::Unavailable | Fault::NoRoom))
    }

    /// The code of the DISCONNECT that a v5 client is sent (v5 §3.14.2.1); none if the client would not read it.
    pub(super) fn disconnect_code(self) -> Option<u8> {
        let code = match self {
            Self::Disconnected { .. } | Self::Lost | Self::WriteTimeout => return None,
            Self::KeepAlive => 0x8d,
            Self::Fault(fault) => match fault {
                Fault::Malformed => 0x81,
                Fault::Protocol => 0x82,
                Fault::PacketTooLarge => 0x95,
                Fault::TopicName => 0x90,
                Fault::TopicAlias => 0x94,
                Fault::ReceiveMaximum => 0x93,
                Fault::Unavailable => 0x89,
                Fault::NoRoom => 0x97,
            },
            Self::Closed(reason) => match reason {
                CloseReason::TakenOver => 0x8e,
                CloseReason::SlowConsumer | CloseReason::TooManyConnections => 0x97,
                CloseReason::Revoked => 0x98,
                CloseReason::ShuttingDown => 0x8b,
                CloseReason::Unavailable => 0x89,
            },
        };
        Some(code)
    }
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    Malformed,
    Protocol,
    UnsupportedVersion,
    ClientId,
    Credentials,
    NotAuthorized,
    AuthenticationMethod,
    WillTopic,
    TooManyConnects,
    Quota,
    Busy,
    Unavailable,
}

impl Refusal {
    /// The return code of a 3.1.1 CONNACK (§3.2.2.3); none where the connection is closed without one.
    pub(super) fn v4_code(self) -> Option<ConnectReturnCode> {
        match self {
            Self::Malformed | Self::Protocol | Self::AuthenticationMethod => None,
            Self::UnsupportedVersion => Some(ConnectReturnCode::RefusedProtocolVersion),
            Self::ClientId => Some(ConnectReturnCode::ClientIdentifierNotValid),
            Self::Credentials => Some(ConnectReturnCode::BadUserNamePassword),
            // No client may publish to such a topic.
            Self::NotAuthorized | Self::WillTopic => Some(ConnectReturnCode::NotAuthorized),
            Self::TooManyConnects | Self::Quota | Self::Busy | Self::Unavailable => {
                Some(ConnectReturnCode::ServiceUnavailable)
            }
        }
    }

    /// The reason code of a v5 CONNACK (v5 §3.2.2.2).
    pub(super) fn v5_code(self) -> ConnectReturnCode {
        match self {
            Self::Malformed => ConnectReturnCode::MalformedPacket,
            Self::Protocol => ConnectReturnCode::ProtocolError,
            Self::UnsupportedVersion => ConnectReturnCode::UnsupportedProtocolVersion,
            Self::ClientId => ConnectReturnCode::ClientIdentifierNotValid,
            Self::Credentials => ConnectReturnCode::BadUserNamePassword,
            Self::NotAuthorized => ConnectReturnCode::NotAuthorized,
            Self::AuthenticationMethod => ConnectReturnCode::BadAuthenticationMethod,
            Self::WillTopic => ConnectReturnCode::TopicNameInvalid,
            Self::TooManyConnects => ConnectReturnCode::ConnectionRateExceeded,
            Self::Quota => ConnectReturnCode::QuotaExceeded,
            Self::Busy => ConnectReturnCode::ServerBusy,
            Self::Unavailable => ConnectReturnCode::ServerUnavailable,
        }
    }
}

impl From<&DomainError> for Refusal {
    fn from(error: &DomainError) -> Self {
        match Kind::of(error) {
            Kind::Credentials => Self::Credentials,
            Kind::NotAuthorized | Kind::Payload | Kind::Other => Self::NotAuthorized,
            Kind::Quota => Self::Quota,
            Kind::Rate => Self::TooManyConnects,
            Kind::Busy => Self::Busy,
            Kind::Fault => Self::Unavailable,
        }
    }
}

/// The errors of the hub, as far as MQTT distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Credentials,
    NotAuthorized,
    Payload,
    Other,
    Quota,
    Rate,
    Busy,
    Fault,
}

impl Kind {
    /// No wildcard arm: a new error of the hub has to find its code here.
    pub(super) fn of(error: &DomainError) -> Self {
        match error {
            DomainError::WrongCredentials | DomainError::Unauthorized => Self::Credentials,
            // Unknown and forbidden look alike.
            DomainError::Forbidden
            | DomainError::NotFromHere(_)
            | DomainError::UnknownParty
            | DomainError::UnknownDevice
            | DomainError::UnknownChat
            | DomainError::UnknownMessage
            | DomainError::UnknownRequest
            | DomainError::UnknownFile
            | DomainError::NotFriends
            | DomainError::Erased => Self::NotAuthorized,
            DomainError::Invalid { .. }
            | DomainError::NotSound
            | DomainError::EmptyRecording
            | DomainError::RecordingTooLong { .. }
            | DomainError::UploadTooLarge { .. } => Self::Payload,
            DomainError::NameTaken
            | DomainError::DeviceBound(_)
            | DomainError::SelfRequest
            | DomainError::AlreadyFriends
            | DomainError::AlreadyRequested
            | DomainError::AlreadyAnswered
            | DomainError::RefusedLately { .. }
            | DomainError::Blocked
            | DomainError::UnknownInvite
            | DomainError::AlreadyGuardian
            | DomainError::ChunksMissing { .. }
            | DomainError::StreamTooOld { .. }
            | DomainError::NoSpeechModel
            | DomainError::NoSynthesiser => Self::Other,
            DomainError::Full(_) | DomainError::StoredFull { .. } | DomainError::DiskFull => Self::Quota,
            DomainError::RateLimited { .. } => Self::Rate,
            DomainError::Busy | DomainError::OutcomeUnknown(_) => Self::Busy,
            DomainError::Internal(_) | DomainError::Unavailable(_) => Self::Fault,
        }
    }

    /// Whether the same publish may succeed later. Such a message is not acknowledged to a 3.1.1 client.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Quota | Self::Rate | Self::Busy | Self::Fault)
    }

    /// The reason code of a PUBACK (v5 §3.4.2.1).
    pub(super) fn puback(self) -> PubAckReason {
        match self {
            Self::Credentials | Self::NotAuthorized => PubAckReason::NotAuthorized,
            Self::Payload => PubAckReason::PayloadFormatInvalid,
            Self::Other => PubAckReason::ImplementationSpecificError,
            Self::Quota | Self::Rate | Self::Busy => PubAckReason::QuotaExceeded,
            Self::Fault => PubAckReason::UnspecifiedError,
        }
    }

    /// The reason code of a PUBREC (v5 §3.5.2.1).
    pub(super) fn pubrec(self) -> PubRecReason {
        match self {
            Self::Credentials | Self::NotAuthorized => PubRecReason::NotAuthorized,
            Self::Payload => PubRecReason::PayloadFormatInvalid,
            Self::Other => PubRecReason::ImplementationSpecificError,
            Self::Quota | Self::Rate | Self::Busy => PubRecReason::QuotaExceeded,
            Self::Fault => PubRecReason::UnspecifiedError,
        }
    }

    /// The reason code of one filter in a v5 SUBACK (v5 §3.9.3).
    pub(super) fn suback(self) -> SubscribeReasonCode {
        match self {
            Self::Credentials | Self::NotAuthorized => SubscribeReasonCode::NotAuthorized,
            Self::Payload | Self::Other => SubscribeReasonCode::ImplementationSpecific,
            Self::Quota | Self::Rate | Self::Busy => SubscribeReasonCode::QuotaExceeded,
            Self::Fault => SubscribeReasonCode::Unspecified,
        }
    }
}

/// The reason code of one filter in a v5 UNSUBACK (v5 §3.11.3).
pub(super) fn unsuback(removed: Result<bool, ()>) -> UnsubAckReason {
    match removed {
        Ok(true) => UnsubAckReason::Success,
        Ok(false) => UnsubAckReason::NoSubscriptionExisted,
        Err(()) => UnsubAckReason::TopicFilterInvalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_at_the_hub_is_no_fault_of_the_client() {
        for end in [End::Disconnected { with_will: true }, End::Fault(Fault::Unavailable), End::Fault(Fault::NoRoom)] {
            assert!(end.is_orderly(), "{end:?}");
        }
        for end in [End::Lost, End::KeepAlive, End::Fault(Fault::Malformed), End::Fault(Fault::PacketTooLarge)] {
            assert!(!end.is_orderly(), "{end:?}");
        }
    }
}
