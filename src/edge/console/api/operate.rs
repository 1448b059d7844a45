//! Devices and users: the commands of the command line, and the lists of their pages.

use serde_json::{Value, json};

use super::super::reply::Fault;
use super::{Api, Call};
use crate::domain::error::DomainError;
use crate::domain::{DeviceState, Progress};
use crate::edge::control::{self, Command, DeviceLine, Response};
use crate::edge::wire;
use crate::model::{DeviceKey, Party};

/// The maximum number of users that are looked at.
const USERS_MAX: usize = 100_000;

impl Api {
    /// The devices whose key, toy or name contains a text.
    pub(super) async fn devices(&self, call: &Call) -> Result<Value, Fault> {
        let (text, limit) = (call.optional("search").unwrap_or_default(), self.config.console.rows_max);
        let (found, count) = self.hub.device_states(&text, limit, wire::now()).await?;
        let row = |DeviceState { device, is_online, seen_at }: DeviceState| {
            json!({
                "key": device.key.as_str(), "toy": device.toy.as_ref().map(|toy| toy.as_str()), "name": device.name,
                "is_online": is_online, "seen_at": seen_at,
            })
        };
        let rows: Vec<_> = found.into_iter().map(row).collect();
        Ok(json!({"count": count, "rows": rows, "now": wire::now(), "batch_max": control::DEVICES_MAX}))
    }

    /// New devices with their secrets, which are shown once.
    pub(super) async fn add_devices(&self, call: &Call) -> Result<Value, Fault> {
        let count = call.number::<usize>("count")?.unwrap_or(1);
        if !(1..=control::DEVICES_MAX).contains(&count) {
            let range = format!("must be from 1 to {}", control::DEVICES_MAX);
            return Err(DomainError::invalid("count", range).into());
        }
        match self.execute(Command::AddDevices { count, key: None }).await? {
            Response::Devices(devices) => {
                let device = |DeviceLine { key, secret }: DeviceLine| json!({"key": key, "secret": secret});
                Ok(json!({"devices": devices.into_iter().map(device).collect::<Vec<_>>()}))
            }
            other => Ok(lines_of(other)),
        }
    }

    /// The QR codes of devices, to be printed.
    pub(super) async fn sheet(&self, call: &Call) -> Result<Value, Fault> {
        let keys = call.fields.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
        if keys.is_empty() || keys.len() > control::DEVICES_MAX {
            let range = format!("must name from 1 to {} devices", control::DEVICES_MAX);
            return Err(DomainError::invalid("keys", range).into());
        }
        let mut codes = Vec::with_capacity(keys.len());
        for key in keys {
            let key: DeviceKey = key.as_str().and_then(|key| key.parse().ok()).ok_or(DomainError::UnknownDevice)?;
            let outline = self.hub.qr_outline(&key).await?;
            codes.push(json!({"key": key.as_str(), "side": outline.side, "path": outline.path}));
        }
        Ok(json!({"codes": codes}))
    }

    /// The users whose name contains a text.
    pub(super) async fn users(&self, call: &Call) -> Result<Value, Fault> {
        let text = call.optional("search").unwrap_or_default().to_lowercase();
        let mut found = self.hub.users(USERS_MAX).await?;
        found.retain(|user| user.username.to_lowercase().contains(&text));
        let count = found.len();
        found.truncate(self.config.console.rows_max);
        let row = |user: crate::model::User| {
            let is_online = self.hub.is_online(&Party::User(user.id.clone()));
            json!({"id": user.id.as_str(), "username": user.username, "is_online": is_online})
        };
        Ok(json!({"count": count, "rows": found.into_iter().map(row).collect::<Vec<_>>()}))
    }

    /// Executes a command of the command line on one device, toy or user.
    pub(super) async fn command(&self, call: &Call) -> Result<Value, Fault> {
        let command = match call.name.as_str() {
            "devices/renew" => Command::RenewDevice { key: call.text("key")? },
            "devices/remove" => Command::RemoveDevices { keys: vec![call.text("key")?] },
            "devices/unbind" => Command::UnbindToy { toy: call.text("toy")?, new_key: false },
            "devices/erase" => Command::EraseToy { toy: call.text("toy")? },
            "users/password" => Command::SetPassword { user: call.text("username")?, password: None },
            "users/log-out" => Command::LogOut { user: call.text("username")? },
            "users/erase" => Command::EraseUser { user: call.text("username")? },
            _ => return Err(crate::edge::status::RequestFault::NoSuchPath.into()),
        };
        Ok(lines_of(self.execute(command).await?))
    }

    /// Executes a command as the command line does. Errors: its words.
    async fn execute(&self, command: Command) -> Result<Response, Fault> {
        match control::execute(&self.hub, command, &Progress::unwatched()).await {
            Response::Failed(words) => Err(Fault::Words(words)),
            response => Ok(response),
        }
    }
}

/// The lines that the command line would print.
fn lines_of(response: Response) -> Value {
    match response {
        Response::Lines(lines) | Response::Examined { lines, .. } => json!({"lines": lines}),
        Response::Devices(_) | Response::Failed(_) => json!({"lines": []}),
    }
}
