//! `/reg`, `/login`, `/auto_login` and `/content_list`.

use super::{Call, Reply, dialect};
use crate::domain::Registration;
use crate::domain::error::DomainError;
use crate::edge::wire::{self, Json};

/// `/reg`. Phones send no avatar.
pub async fn register(call: Call) -> Result<Reply, DomainError> {
    let fields = &call.fields;
    let registration = Registration {
        username: fields.required("username")?.to_owned(),
        password: fields.secret("password")?,
        nickname: fields.required("nickname")?.to_owned(),
        gender: fields.optional("gender").to_owned(),
        avatar: fields.optional_file("avatar")?,
    };
    call.hub.register(registration, call.peer, call.now).await?;
    // The document really says so.
    Ok(Reply::done("login was successful"))
}

/// `/login`. The token is additive.
pub async fn login(call: Call) -> Result<Reply, DomainError> {
    let username = call.fields.required("username")?;
    let password = call.fields.secret("password")?;
    let (profile, token) = call.hub.login(username, password, call.peer, call.now).await?;
    let data = dialect::profile(call.dialect, wire::profile(&profile)).with("token", token.reveal());
    Ok(Reply::Envelope { msg: "Successful login", data })
}

/// `/auto_login`, with what waits to be heard.
pub async fn auto_login(call: Call) -> Result<Reply, DomainError> {
    let user = call.user("_id").await?;
    let profile = call.hub.profile(&user).await?;
    let chat = wire::unread_counts(&profile.friends);
    let data = dialect::profile(call.dialect, wire::profile(&profile)).with("chat", chat);
    Ok(Reply::Envelope { msg: "Successful login", data })
}

/// `/ticket`, additive: what a page opens its socket with, once and soon.
pub async fn ticket(call: Call) -> Result<Reply, DomainError> {
    let token = call.token().ok_or(DomainError::Unauthorized)?;
    let ticket = call.hub.issue_ticket(token, call.peer, call.now).await?;
    Ok(Reply::Envelope { msg: "done", data: Json::object([("ticket", ticket.reveal().into())]) })
}

/// `/content_list`, for everybody.
pub async fn content_list(call: Call) -> Result<Reply, DomainError> {
    let content = Json::list(&call.hub.content().await?, wire::content);
    Ok(dialect::content_list(call.dialect, Reply::Envelope { msg: "Get a list of content resources", data: content }))
}
