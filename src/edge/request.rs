//! Numbered requests of clients that have logged in: JSON text `{"id":n,"do":"friend_list",…}`, over a socket or MQTT.
//!
//! The words of `do` are the paths of the calls without their slash, with the same fields; the field that names the
//! caller may be left out. What HTTP answers in its envelope is answered `{"id":n,"code":0,"msg":"…","data":…}`, a bare
//! answer as the `data` of one.
//!
//! A recording has come before, in chunks: the uploaders take its name as `upload` and their number as `chunks`. Such
//! a call can be repeated after a broken link: once it has been answered, it is answered the same again, without being
//! done again.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

pub use super::frame::Request;
use super::status::{self, RequestFault};
use super::wire;
use crate::api::request::{Request as _, request};
use crate::api::{self, Authority, CallContext, Reply};
use crate::domain::error::DomainError;
use crate::domain::{Hub, Recording};
use crate::model::{Party, UploadName};
use crate::ports::metrics::METRICS;

request! {
    /// Names a recording in chunks.
    pub struct InChunks {
        /// The recording, whose chunks were sent before.
        upload: UploadName,
        /// How many chunks it has.
        chunks: u32,
    }
}

/// The caller.
#[derive(Clone)]
pub struct Caller {
    /// The hub that is asked.
    pub hub: Arc<Hub>,
    /// As whom the connection has logged in.
    pub party: Party,
    /// Its address.
    pub peer: IpAddr,
}

impl Caller {
    /// Executes the request.
    pub async fn call(&self, request: Request) -> Result<Reply, DomainError> {
        METRICS.calls.add();
        let Request { word, mut given, .. } = request;
        let call = api::call_of_word(&word);
        let call = call.ok_or_else(|| DomainError::invalid("do", "is none of the words that the hub knows"))?;
        let authority = Authority::Party(self.party.clone());
        let context = CallContext::new(Arc::clone(&self.hub), self.peer.into(), wire::now(), authority);
        if !call.takes_recording {
            let reply = call.run(&context, given).await?;
            // A connection that ends before its answer has `unread` and `mark_read`.
            if let Some(handover) = context.take_handover() {
                self.hub.complete(handover, context.now).await?;
            }
            return Ok(reply);
        }
        let InChunks { upload, chunks } = InChunks::read(&mut given)?;
        given.recording = Some(Recording::InChunks { name: upload, chunks });
        let data = call.run(&context, given).await?.data;
        Ok(Reply { msg: None, data })
    }
}

/// The numbered answer.
pub fn answer(id: u64, result: Result<Reply, DomainError>) -> Value {
    match result {
        Ok(Reply { msg, data }) => json!({"id": id, "code": 0, "msg": msg.unwrap_or("done"), "data": data}),
        Err(error) => {
            let (code, msg) = (status::of(&error).code, error.to_string());
            METRICS.refused(code);
            json!({"id": id, "code": code, "msg": msg, "data": status::data_of(&error)})
        }
    }
}

/// The answer of a call without a result.
pub fn done() -> Reply {
    Reply { msg: None, data: json!({}) }
}

/// The answer to a malformed request.
pub fn unreadable(fault: &RequestFault) -> Value {
    json!({"id": 0, "code": status::of_request(fault).code, "msg": fault.to_string(), "data": {}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_number() {
        let answered = Reply { msg: Some("m"), data: json!({}) };
        assert_eq!(answer(7, Ok(answered)).to_string(), r#"{"id":7,"code":0,"msg":"m","data":{}}"#);
        assert_eq!(
            answer(8, Err(DomainError::ChunksMissing { first: 3 })).to_string(),
            r#"{"id":8,"code":30,"msg":"the recording is not complete, chunk 3 is missing","data":{"first_missing":3}}"#
        );
        assert_eq!(
            unreadable(&RequestFault::BadBody("it is not JSON")).to_string(),
            r#"{"id":0,"code":20,"msg":"the request body cannot be read: it is not JSON","data":{}}"#
        );
    }
}
