//! `/friend_list`, `/add_req`, `/req_list`, `/ref_req` and `/acc_req`.

use super::call::Call;
use super::dialect;
use super::reply::{Failure, Reply};
use crate::domain::NewRequest;
use crate::domain::error::DomainError;
use crate::edge::wire::{self, Json};
use crate::model::{Party, RequestId, UserId};

/// `/friend_list`: the user's address book.
pub(super) async fn friend_list(call: Call) -> Result<Reply, Failure> {
    let user = call.user("_id").await?;
    let data = Json::list(&call.hub.friends(&user.into()).await?, wire::friend);
    Ok(Reply::Envelope { msg: "Friends Inquiry", data })
}

/// `/add_req`. Which kind the requester is, its id tells; the field `type` is not trusted.
pub(super) async fn add_req(call: Call) -> Result<Reply, Failure> {
    let names = dialect::request_fields(call.dialect, &call.fields);
    let requester = call.party(names.requester).await?;
    let request = NewRequest {
        requester,
        requestee: call.fields.party(names.requestee)?,
        info: call.fields.optional("req_info").to_owned(),
        remark: call.fields.optional("remark").to_owned(),
    };
    call.hub.request_friend(request, call.now).await?;
    Ok(Reply::done("Successful Added Friends Request"))
}

/// `/req_list`: the requests to the user and to the user's toys, newest first.
pub(super) async fn req_list(call: Call) -> Result<Reply, Failure> {
    let user = call.user(dialect::request_list_field(call.dialect, &call.fields)).await?;
    let data = Json::list(&call.hub.requests(&user).await?, wire::friend_request);
    Ok(Reply::Envelope { msg: "Query Friends Request", data })
}

/// `/ref_req`
pub(super) async fn ref_req(call: Call) -> Result<Reply, Failure> {
    let (request, answerer) = answerer(&call).await?;
    call.hub.refuse(&request, &answerer).await?;
    Ok(Reply::done("Refuse to add friends"))
}

/// `/acc_req`
pub(super) async fn acc_req(call: Call) -> Result<Reply, Failure> {
    let (request, answerer) = answerer(&call).await?;
    call.hub.accept(&request, &answerer, call.fields.optional("remark"), call.now).await?;
    Ok(Reply::done("Agree to add friends"))
}

/// The request of the call and the user who may answer it. The documented call does not say who answers, so that the
/// request itself tells for whom the call must be allowed to act.
async fn answerer(call: &Call) -> Result<(RequestId, UserId), DomainError> {
    let id: RequestId = call.fields.required("req_id")?.trim().parse().map_err(|_| DomainError::UnknownRequest)?;
    let answerer = call.hub.request_answerer(&id).await?;
    let party = answerer.as_str().parse().map_err(DomainError::internal)?;
    match call.act_for(&party).await? {
        Party::User(user) => Ok((id, user)),
        Party::Toy(_) => Err(DomainError::UnknownRequest),
    }
}
