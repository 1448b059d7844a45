//! One call of a documented route, after its body was received and before anybody was authorized.

use std::net::IpAddr;
use std::sync::Arc;

use headers::authorization::Bearer;
use headers::{Authorization, HeaderMapExt};
use hyper::HeaderMap;

use super::body::Received;
use super::fields::{Fields, missing};
use crate::config::Dialect;
use crate::domain::error::DomainError;
use crate::domain::{Hub, Upload};
use crate::edge::wire;
use crate::model::{Party, PartyId, Secret, Timestamp, ToyId, UserId};

/// What a handler works on.
pub(super) struct Call {
    pub(super) hub: Arc<Hub>,
    pub(super) dialect: Dialect,
    /// The address that the call came from.
    pub(super) peer: IpAddr,
    /// When it came.
    pub(super) now: Timestamp,
    pub(super) fields: Fields,
    token: Option<Secret>,
    recording: Option<Upload>,
}

impl Call {
    pub(super) fn new(hub: Arc<Hub>, dialect: Dialect, peer: IpAddr, headers: &HeaderMap, received: Received) -> Self {
        let Received { fields, recording } = received;
        let in_body = fields.get("token").filter(|token| !token.is_empty()).map(Secret::new);
        Self { hub, dialect, peer, now: wire::now(), token: bearer(headers).or(in_body), fields, recording }
    }

    /// The token of the header or, additively, of the body's `token`.
    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// The party with the id of field `name`, if this call may act for it.
    pub(super) async fn party(&self, name: &'static str) -> Result<Party, DomainError> {
        self.act_for(&self.fields.party(name)?).await
    }

    /// The user with the id of field `name`, if this call may act for it. A toy is no user.
    pub(super) async fn user(&self, name: &'static str) -> Result<UserId, DomainError> {
        match self.party(name).await? {
            Party::User(user) => Ok(user),
            Party::Toy(_) => Err(DomainError::UnknownParty),
        }
    }

    /// The toy with the id of field `name`, if this call may act for it. A user is no toy.
    pub(super) async fn toy(&self, name: &'static str) -> Result<ToyId, DomainError> {
        match self.party(name).await? {
            Party::Toy(toy) => Ok(toy),
            Party::User(_) => Err(DomainError::UnknownParty),
        }
    }

    /// Whether this call may act for the party.
    pub(super) async fn act_for(&self, id: &PartyId) -> Result<Party, DomainError> {
        self.hub.authorize(id, self.token(), self.now).await
    }

    /// The recording, which the document calls `field`.
    pub(super) fn take_recording(&mut self, field: &'static str) -> Result<Upload, DomainError> {
        self.recording.take().ok_or_else(|| missing(field))
    }
}

/// The token of `Authorization: Bearer …`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<Secret> {
    headers.typed_get::<Authorization<Bearer>>().map(|header| Secret::new(header.token()))
}
