//! Commands for a family: invitations, guardians, passwords, the audit log and the consent.

use time::OffsetDateTime;

use super::{PartyName, Response, operated};
use crate::domain::error::DomainError;
use crate::domain::{Guardian, Hub, WantedInvitation};
use crate::edge::wire;
use crate::model::{Audited, Consent, Party, PartyId, Secret, Setting, Timestamp, ToyId};

/// The number of entries of an audit log that are printed, the newest.
const AUDIT_MAX: usize = 1000;

pub(super) fn toy_id(toy: &str) -> Result<ToyId, DomainError> {
    toy.parse().map_err(|_| DomainError::UnknownParty)
}

pub(super) async fn party(hub: &Hub, name: &PartyName) -> Result<Party, DomainError> {
    match name {
        PartyName::User(name) => Ok(Party::User(hub.user_named(name).await?)),
        PartyName::Toy(id) => Ok(Party::Toy(toy_id(id)?)),
    }
}

/// A time in UTC: `2026-11-26T14:31:24Z`.
fn utc(at: Timestamp) -> String {
    let at = OffsetDateTime::from_unix_timestamp(at as i64).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!("{}T{:02}:{:02}:{:02}Z", at.date(), at.hour(), at.minute(), at.second())
}

/// Time, action, actor, other party, and the address or setting; `-` where an entry has none.
pub(super) async fn audit(hub: &Hub, name: PartyName) -> Result<Response, DomainError> {
    let line = |entry: Audited| {
        let Audited { at, action, actor, about, place, setting, .. } = entry;
        let detail = place.or_else(|| setting.map(|setting| setting.as_str().to_owned()));
        let actor = actor.as_ref().map_or("operator", PartyId::as_str);
        let about = about.as_ref().map_or("-", PartyId::as_str);
        format!("{}\t{}\t{actor}\t{about}\t{}", utc(at), action.as_str(), detail.as_deref().unwrap_or("-"))
    };
    let found = hub.audited_of(&party(hub, &name).await?, Timestamp::MAX, AUDIT_MAX).await?;
    Ok(Response::Lines(found.into_iter().map(line).collect()))
}

/// The version of the text, the time of the consent and the language; and the text.
pub(super) async fn consent(hub: &Hub, toy: &str) -> Result<Response, DomainError> {
    let found = hub.consent_of(None, &toy_id(toy)?).await?;
    Ok(Response::Lines(match found {
        Some(Consent { text, at }) => vec![format!("{}\t{}\t{}", text.version, utc(at), text.language), text.text],
        None => vec!["bound by a version that recorded no consent".to_owned()],
    }))
}

/// The code is printed once.
pub(super) async fn invite(hub: &Hub, toy: Option<&str>, remark: String) -> Result<Response, DomainError> {
    let toy = toy.map(toy_id).transpose()?;
    let made = hub.invite(None, WantedInvitation { toy: toy.clone(), remark }, wire::now()).await?;
    if let Some(toy) = toy {
        operated(hub, &Party::Toy(toy), Setting::Invitation).await;
    }
    let hours = ((made.expires_at - wire::now()) / 3600.0).round();
    Ok(Response::Lines(vec![format!("{}\tgood once, for {hours} hours", made.code.reveal())]))
}

pub(super) async fn list_guardians(hub: &Hub, toy: &str) -> Result<Response, DomainError> {
    let line = |guardian: Guardian| {
        let first = if guardian.is_first { "\tbound" } else { "" };
        format!("{}\t{}{first}", guardian.id, guardian.nickname)
    };
    let guardians = hub.guardians_of(None, &toy_id(toy)?).await?;
    Ok(Response::Lines(guardians.into_iter().map(line).collect()))
}

pub(super) async fn remove_guardian(hub: &Hub, toy: &str, user: &str) -> Result<Response, DomainError> {
    let user = hub.user_named(user).await?;
    hub.remove_guardian(None, &toy_id(toy)?, &user, wire::now()).await?;
    Ok(Response::Lines(vec!["is no guardian of this toy any more".into()]))
}

/// A random password is printed once; one that was given is not.
pub(super) async fn set_password(hub: &Hub, user: &str, password: Option<String>) -> Result<Response, DomainError> {
    let is_random = password.is_none();
    let password = hub.reset_password(user, password.map(Secret::new), wire::now()).await?;
    let line = if is_random { password.reveal().to_owned() } else { "the password is changed".to_owned() };
    Ok(Response::Lines(vec![line]))
}
