//! `/scan_qr`, `/bind_toy`, `/toy_list` and `/open_toy`.

use super::{Authority, Call, Reply};
use crate::domain::error::DomainError;
use crate::domain::{Binding, Opened};
use crate::edge::wire::{self, Json};
use crate::model::Party;

/// `/scan_qr`: whether a device can be bound. A bound one answers code 2 with its toy.
pub async fn scan_qr(call: Call) -> Result<Reply, DomainError> {
    let key = call.fields.device_key("device_key")?;
    call.hub.scan(&key).await?;
    let data = Json::object([("device_key", key.as_str().into())]);
    Ok(Reply::Envelope { msg: "Successful Scanning of Two-Dimensional Code", data })
}

/// `/bind_toy`: a device becomes a toy of the user.
pub async fn bind_toy(call: Call) -> Result<Reply, DomainError> {
    let user = call.user("user_id").await?;
    let fields = &call.fields;
    let binding = Binding {
        toy_name: fields.required("toy_name")?.to_owned(),
        baby_name: fields.required("baby_name")?.to_owned(),
        remark: fields.optional("remark").to_owned(),
        user,
        device_key: fields.device_key("device_key")?,
    };
    call.hub.bind_toy(binding, call.now).await?;
    Ok(Reply::done("Binding Completion"))
}

/// `/toy_list`: the user's toys with their address books.
pub async fn toy_list(call: Call) -> Result<Reply, DomainError> {
    let user = call.user("_id").await?;
    let toys = call.hub.toys(&user).await?;
    let data = Json::list(&toys, |(toy, friends)| wire::toy(toy, friends));
    Ok(Reply::Envelope { msg: "Obtain Toy list", data })
}

/// `/open_toy`: a device has started. It always gets a sound to play, an unknown or malformed key too.
pub async fn open_toy(call: Call) -> Result<Reply, DomainError> {
    if let Authority::Party(Party::Toy(toy)) = &call.authority {
        return Ok(Reply::Bare(wire::opened(&call.hub.open_own(toy).await?)));
    }
    let opened = match call.fields.device_key("device_key") {
        Ok(key) => call.hub.open_toy(&key, call.token(), call.now).await?,
        Err(DomainError::UnknownDevice) => Opened::Unknown,
        Err(error) => return Err(error),
    };
    Ok(Reply::Bare(wire::opened(&opened)))
}
