//! Commands for a family: invitations, guardians, passwords.

use super::{Response, operated};
use crate::domain::error::DomainError;
use crate::domain::{Guardian, Hub, WantedInvitation};
use crate::edge::wire;
use crate::model::{Party, Secret, Setting, ToyId};

pub(super) fn toy_id(toy: &str) -> Result<ToyId, DomainError> {
    toy.parse().map_err(|_| DomainError::UnknownParty)
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
