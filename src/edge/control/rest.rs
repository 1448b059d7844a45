//! Commands for the settings of a toy: quiet hours, daily minutes and permitted content.

use super::family::toy_id;
use super::{Response, operated};
use crate::domain::error::DomainError;
use crate::domain::{Hub, ToySettings, daily_minutes, quiet_hours};
use crate::edge::wire;
use crate::model::{Party, Setting, ToyId, ToyVoice};

/// Adds an entry to the audit log of the toy: its settings were changed.
async fn done(hub: &Hub, toy: ToyId, setting: Setting) -> Result<Response, DomainError> {
    operated(hub, &Party::Toy(toy), setting).await;
    Ok(Response::Lines(vec!["done".into()]))
}

pub(super) async fn settings(hub: &Hub, toy: &str) -> Result<Response, DomainError> {
    let toy = toy_id(toy)?;
    let settings = hub.toy_settings(None, &toy, wire::now()).await?;
    let ToySettings { quiet, minutes, is_approved_only, approved, keeps_words } = settings;
    let quiet = quiet.map_or_else(
        || "none".to_owned(),
        |quiet| format!("from {} until {}, {}", quiet.from, quiet.until, quiet.zone),
    );
    let content = if is_approved_only { "approved" } else { "all" };
    let minutes = minutes.map_or_else(
        || "no limit".to_owned(),
        |(daily, seconds)| format!("{} a day, {:.1} used, {}", daily.minutes, seconds / 60.0, daily.zone),
    );
    let mut lines = vec![format!("quiet hours\t{quiet}"), format!("minutes\t{minutes}"), format!("content\t{content}")];
    let ToyVoice { name, speed_percent } = hub.toy_voice(None, &toy).await?;
    let name = name.as_deref().unwrap_or("of the hub");
    lines.push(format!("voice\t{name}, {speed_percent} %"));
    lines.extend(keeps_words.then(|| "words\tkept".to_owned()));
    lines.extend(approved.iter().map(|content| format!("approved\t{content}")));
    Ok(Response::Lines(lines))
}

pub(super) async fn set_quiet(
    hub: &Hub,
    toy: &str,
    (from, until, zone): (&str, &str, &str),
) -> Result<Response, DomainError> {
    let hours = quiet_hours(from, until, zone)?;
    let toy = toy_id(toy)?;
    hub.set_quiet_hours(None, &toy, hours, wire::now()).await?;
    done(hub, toy, Setting::QuietHours).await
}

pub(super) async fn set_minutes(
    hub: &Hub,
    toy: &str,
    minutes: Option<u32>,
    zone: &str,
) -> Result<Response, DomainError> {
    let daily = daily_minutes(minutes, zone)?;
    let toy = toy_id(toy)?;
    hub.set_daily_minutes(None, &toy, daily, wire::now()).await?;
    done(hub, toy, Setting::DailyMinutes).await
}

pub(super) async fn set_content(hub: &Hub, toy: &str, is_approved_only: bool) -> Result<Response, DomainError> {
    let toy = toy_id(toy)?;
    hub.set_approved_only(None, &toy, is_approved_only).await?;
    done(hub, toy, Setting::Content).await
}

pub(super) async fn set_voice(
    hub: &Hub,
    toy: &str,
    name: Option<String>,
    speed_percent: u16,
) -> Result<Response, DomainError> {
    let toy = toy_id(toy)?;
    hub.set_toy_voice(None, &toy, ToyVoice { name, speed_percent }).await?;
    done(hub, toy, Setting::Voice).await
}

pub(super) async fn approve(hub: &Hub, toy: &str, content: &str, is_approved: bool) -> Result<Response, DomainError> {
    let content = content.parse().map_err(|_| DomainError::invalid("CONTENT", "is an id of \"content list\""))?;
    let toy = toy_id(toy)?;
    hub.approve_content(None, &toy, &content, is_approved).await?;
    done(hub, toy, Setting::Approval).await
}
