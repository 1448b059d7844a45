//! The permission to upload a recording, checked before any part of it is written to disk.
//!
//! The parts of a form arrive in the client's order. Once the fields name the caller, its permission is checked as the
//! call itself checks it. Before that, a recording is only written to disk if the request has a token, or if a party
//! has authenticated at its address; otherwise a limited number of bytes is held in memory until the names arrive.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Edge;
use super::client::Requester;
use super::failure::Failure;
use crate::api::request::{Given, missing};
use crate::api::{Authority, CallContext, Caller, Entry};
use crate::config::Http;
use crate::domain::error::DomainError;
use crate::domain::{Origin, Upload};
use crate::edge::net::{AddressPlace, Places};
use crate::edge::status::RequestFault;
use crate::edge::wire;
use crate::model::Secret;

/// How many recordings are received at once.
pub(super) struct Uploads {
    /// Those that are written to disk, by address.
    written: Arc<Places>,
    /// Those that are held in memory.
    held: Arc<Semaphore>,
}

impl Uploads {
    pub(super) fn new(config: &Http) -> Self {
        let held = config.uploads_held_bytes / config.upload_held_bytes.max(1);
        let held = usize::try_from(held).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            written: Places::new(config.connections_max, config.uploads_per_address_max),
            held: Arc::new(Semaphore::new(held)),
        }
    }
}

/// The gate of one request.
pub(super) struct Gate<'e> {
    pub(super) edge: &'e Edge,
    pub(super) client: &'e Requester,
    pub(super) entry: &'static Entry,
    /// From where the request comes.
    pub(super) from: Origin,
    /// The token of the request's head.
    pub(super) bearer: Option<Secret>,
}

/// A recording that is let in.
pub(super) struct Admitted {
    pub(super) upload: Upload,
    /// Given back when the call is done, and the recording gone.
    pub(super) place: AddressPlace,
}

impl Gate<'_> {
    /// The credential of the call, as far as the request has sent it.
    pub(super) fn context(&self, given: &Given) -> CallContext {
        // The token of the header or, additively, of the body's `token`.
        let in_body = given.text("token").filter(|token| !token.is_empty()).map(Secret::new);
        let authority = Authority::Token(self.bearer.clone().or(in_body));
        CallContext::new(Arc::clone(&self.edge.hub), self.from, wire::now(), authority)
    }

    /// Begins to receive the recording; none while it is not known whether it is let in. Errors: as of the call.
    pub(super) async fn admit(&self, given: &Given) -> Result<Option<Admitted>, Failure> {
        let asked = self.context(given);
        match self.entry.caller(&asked, given).await? {
            Caller::Known(party) => self.edge.hub.check_stored(&party).await?,
            Caller::Unnamed(_) => match asked.anybody().await {
                Ok(()) => {}
                Err(DomainError::Unauthorized) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
        }
        self.begin().await.map(Some)
    }

    /// As [`Self::admit`], when all fields have come.
    pub(super) async fn admit_named(&self, given: &Given) -> Result<Admitted, Failure> {
        match self.entry.caller(&self.context(given), given).await? {
            Caller::Known(party) => self.edge.hub.check_stored(&party).await?,
            Caller::Unnamed(field) => return Err(missing(field).into()),
        }
        self.begin().await
    }

    async fn begin(&self) -> Result<Admitted, Failure> {
        let place = self.edge.uploads.written.take_of(self.client.peer).map_err(|_| DomainError::Busy)?;
        let upload = self.edge.hub.begin_upload(self.edge.config.http.upload_max_bytes).await?;
        Ok(Admitted { upload, place })
    }

    /// Room to hold one recording in memory.
    pub(super) fn hold(&self) -> Result<Held, Failure> {
        let permit = Arc::clone(&self.edge.uploads.held).try_acquire_owned().map_err(|_| DomainError::Busy)?;
        let max_bytes = usize::try_from(self.edge.config.http.upload_held_bytes).unwrap_or(usize::MAX);
        Ok(Held { bytes: Vec::new(), max_bytes, _permit: permit })
    }
}

/// A recording whose sender is not known yet.
pub(super) struct Held {
    pub(super) bytes: Vec<u8>,
    max_bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    /// Errors: `NamesAfterRecording`.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), RequestFault> {
        if self.bytes.len() + chunk.len() > self.max_bytes {
            return Err(RequestFault::NamesAfterRecording);
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}
