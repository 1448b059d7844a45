//! Calls of those who have logged in: numbered requests in JSON, `{"id":n,"do":"friend_list",…}`, over a socket or MQTT.
//!
//! The words of `do` are the documented paths without their slash, with the documented fields; the field that names
//! the caller may be left out. What HTTP answers in its envelope is answered `{"id":n,"code":0,"msg":"…","data":…}`, a
//! bare answer as the `data` of one.
//!
//! A recording has come before, in chunks: the uploaders take its name as `upload` and their number as `chunks`. Such
//! a call can be repeated after a broken link: once it has been answered, it is answered the same again, without being
//! done again.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::fields::Fields;
use super::{Authority, Call, Name, Reply, handle};
use crate::config::Dialect;
use crate::domain::Hub;
use crate::domain::error::DomainError;
use crate::edge::status::{self, RequestFault};
use crate::edge::wire::{self, Json};
use crate::model::{Party, UploadName};

/// A numbered request.
#[derive(Debug)]
pub struct Request {
    /// The number that its answer bears; 0 where none was given.
    pub id: u64,
    /// What is asked.
    pub word: String,
    /// The rest.
    pub fields: Fields,
}

impl Request {
    /// Reads the JSON text.
    pub fn parse(text: &[u8]) -> Result<Self, RequestFault> {
        let fields = Fields::from_json(text)?;
        let id = fields.optional("id").parse().unwrap_or_default();
        let word = fields.optional("do").to_owned();
        Ok(Self { id, word, fields })
    }
}

/// Who asks.
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
    /// Does what is asked; the answer without its number.
    pub async fn call(&self, request: Request) -> Result<Reply, DomainError> {
        let Request { word, fields, .. } = request;
        let name = Name::of_word(&word);
        let name = name.ok_or_else(|| DomainError::invalid("do", "is none of the words that the README lists"))?;
        if !name.takes_recording() {
            return handle(name, self.with(fields)).await;
        }
        let upload: UploadName = fields.required("upload")?.parse().map_err(|_| malformed_upload())?;
        if let Some(answer) = self.hub.finished_upload(&self.party, &upload).await? {
            return Ok(Reply::Bare(serde_json::from_slice::<Value>(&answer).map_err(DomainError::internal)?.into()));
        }
        let chunks = fields.required("chunks")?.trim().parse();
        let chunks = chunks.map_err(|_| DomainError::invalid("chunks", "is the number of the recording's chunks"))?;
        let recording = Some(self.hub.assemble(&self.party, &upload, chunks).await?);
        let data = data_of(handle(name, Call { recording, ..self.with(fields) }).await?);
        let kept = self.hub.finish_upload(&self.party, &upload, Bytes::from(data.to_vec())).await;
        if let Err(error) = kept {
            // Such as a full disk. The call is done all the same; who sends it again is answered by what is stored.
            tracing::warn!(?error, "the answer to a recording in chunks was not kept");
        }
        Ok(Reply::Bare(data))
    }

    fn with(&self, fields: Fields) -> Call {
        Call {
            hub: Arc::clone(&self.hub),
            dialect: Dialect::Documented,
            peer: self.peer,
            now: wire::now(),
            fields,
            authority: Authority::Party(self.party.clone()),
            recording: None,
        }
    }
}

/// The name of an upload that is none.
pub fn malformed_upload() -> DomainError {
    DomainError::invalid("upload", "has 1 to 32 letters, digits, '-' and '_'")
}

fn data_of(reply: Reply) -> Json {
    match reply {
        Reply::Envelope { data, .. } | Reply::Bare(data) => data,
    }
}

/// The numbered answer.
pub fn answer(id: u64, result: Result<Reply, DomainError>) -> Json {
    let (code, msg, data) = match result {
        Ok(Reply::Envelope { msg, data }) => (0, msg.into(), data),
        Ok(Reply::Bare(data)) => (0, "done".into(), data),
        Err(error) => {
            if let DomainError::Internal(cause) | DomainError::OutcomeUnknown(cause) = &error {
                tracing::error!(cause = status::describe(cause.as_ref()), "request failed");
            }
            (status::of(&error).code, error.to_string().into(), status::details(&error))
        }
    };
    Json::object([("id", id.into()), ("code", u64::from(code).into()), ("msg", msg), ("data", data)])
}

/// The answer to what is no request.
pub fn unreadable(fault: &RequestFault) -> Json {
    let code = u64::from(status::of_request(fault).code);
    Json::object([("id", 0.into()), ("code", code.into()), ("msg", fault.to_string().into()), ("data", Json::empty())])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_number_and_a_word() {
        let request = Request::parse(br#"{"id":7,"do":"friend_list","_id":"x"}"#).unwrap();
        assert_eq!((request.id, request.word.as_str(), request.fields.get("_id")), (7, "friend_list", Some("x")));
        let request = Request::parse(br#"{"id":-1}"#).unwrap();
        assert_eq!((request.id, request.word.as_str()), (0, ""));
        for bad in [&b""[..], b"[]", b"{", b"\xff", b"5"] {
            assert!(Request::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_bears_the_number() {
        let text = |json: Json| String::from_utf8(json.to_vec()).unwrap();
        assert_eq!(text(answer(7, Ok(Reply::done("m")))), r#"{"id":7,"code":0,"msg":"m","data":{}}"#);
        assert_eq!(
            text(answer(8, Err(DomainError::ChunksMissing { first: 3 }))),
            r#"{"id":8,"code":30,"msg":"the recording is not complete, chunk 3 is missing","data":{"first_missing":3}}"#
        );
        assert_eq!(
            text(unreadable(&RequestFault::BadBody("it is not JSON"))),
            r#"{"id":0,"code":20,"msg":"the request body cannot be read: it is not JSON","data":{}}"#
        );
    }
}
