//! Why a request failed.

use crate::domain::error::DomainError;
use crate::edge::status::RequestFault;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The hub has refused it.
    Domain(DomainError),
    /// The request never reached the hub.
    Request(RequestFault),
}

impl Failure {
    /// Whether the client may not send this body: the rest of it is of no use.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Domain(error) => !matches!(error, DomainError::DiskFull | DomainError::UploadTooLarge { .. }),
            Self::Request(fault) => matches!(fault, RequestFault::NamesAfterRecording),
        }
    }
}

impl From<DomainError> for Failure {
    fn from(error: DomainError) -> Self {
        Self::Domain(error)
    }
}

impl From<RequestFault> for Failure {
    fn from(fault: RequestFault) -> Self {
        Self::Request(fault)
    }
}
