//! What the command line sets for a toy: quiet hours, and which content it plays.

use super::Answer;
use super::family::toy_id;
use crate::domain::error::DomainError;
use crate::domain::{Hub, ToySettings, quiet_hours};
use crate::edge::wire;

fn done() -> Result<Answer, DomainError> {
    Ok(Answer::Lines(vec!["done".into()]))
}

pub(super) async fn settings(hub: &Hub, toy: &str) -> Result<Answer, DomainError> {
    let ToySettings { quiet, is_approved_only, approved } = hub.toy_settings(None, &toy_id(toy)?).await?;
    let quiet = quiet.map_or_else(
        || "none".to_owned(),
        |quiet| format!("from {} until {}, {}", quiet.from, quiet.until, quiet.zone),
    );
    let content = if is_approved_only { "approved" } else { "all" };
    let mut lines = vec![format!("quiet hours\t{quiet}"), format!("content\t{content}")];
    lines.extend(approved.iter().map(|content| format!("approved\t{content}")));
    Ok(Answer::Lines(lines))
}

pub(super) async fn set_quiet(
    hub: &Hub,
    toy: &str,
    (from, until, zone): (&str, &str, &str),
) -> Result<Answer, DomainError> {
    let hours = quiet_hours(from, until, zone)?;
    hub.set_quiet_hours(None, &toy_id(toy)?, hours, wire::now()).await?;
    done()
}

pub(super) async fn set_content(hub: &Hub, toy: &str, is_approved_only: bool) -> Result<Answer, DomainError> {
    hub.set_approved_only(None, &toy_id(toy)?, is_approved_only).await?;
    done()
}

pub(super) async fn approve(hub: &Hub, toy: &str, content: &str, is_approved: bool) -> Result<Answer, DomainError> {
    let content = content.parse().map_err(|_| DomainError::invalid("CONTENT", "is an id of \"content list\""))?;
    hub.approve_content(None, &toy_id(toy)?, &content, is_approved).await?;
    done()
}
