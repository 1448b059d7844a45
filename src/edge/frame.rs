//! A numbered request as its client sends it: JSON text, parsed.

use super::body;
use super::status::RequestFault;
use crate::api::request::Given;

/// A numbered request.
pub struct Request {
    /// The number of its answer; 0 if none was given.
    pub id: u64,
    /// The requested call.
    pub word: String,
    /// The fields.
    pub given: Given,
}

impl Request {
    /// Parses the JSON text.
    pub fn parse(text: &[u8]) -> Result<Self, RequestFault> {
        let given = Given::of(body::from_json(text)?);
        let id = given.text("id").and_then(|id| id.parse().ok()).unwrap_or_default();
        let word = given.text("do").unwrap_or_default().into_owned();
        Ok(Self { id, word, given })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_number_and_a_word() {
        let request = Request::parse(br#"{"id":7,"do":"friend_list","_id":"x"}"#).unwrap();
        let field = request.given.text("_id").map(|text| text.into_owned());
        assert_eq!((request.id, request.word.as_str(), field.as_deref()), (7, "friend_list", Some("x")));
        let request = Request::parse(br#"{"id":-1}"#).unwrap();
        assert_eq!((request.id, request.word.as_str()), (0, ""));
        for bad in [&b""[..], b"[]", b"{", b"\xff", b"5"] {
            assert!(Request::parse(bad).is_err(), "{bad:?}");
        }
    }
}
