//! The fields of a request from the text of its body, whatever its form.

use serde_json::{Map, Value};

use super::status::RequestFault;

/// Names and values.
pub type FieldMap = Map<String, Value>;

/// The fields of a JSON object. `null` has none.
pub fn from_json(bytes: &[u8]) -> Result<FieldMap, RequestFault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match serde_json::from_slice(bytes).map_err(|_| RequestFault::BadBody("it is not JSON"))? {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(FieldMap::new()),
        _ => Err(RequestFault::BadBody("it is not a JSON object")),
    }
}

/// The fields of an `application/x-www-form-urlencoded` text.
pub fn from_form(bytes: &[u8]) -> Result<FieldMap, RequestFault> {
    let pairs = serde_urlencoded::from_bytes::<Vec<(String, String)>>(bytes);
    let pairs = pairs.map_err(|_| RequestFault::BadBody("it is not a form"))?;
    Ok(pairs.into_iter().map(|(name, text)| (name, Value::String(text))).collect())
}

/// The fields of a text whose form nothing names: its first byte does.
pub fn from_unnamed(bytes: &[u8]) -> Result<FieldMap, RequestFault> {
    if bytes.trim_ascii_start().starts_with(b"{") { from_json(bytes) } else { from_form(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::{Field, Given, Maybe};
    use crate::domain::error::DomainError;
    use crate::model::{PartyId, Timestamp};

    fn json(bytes: &[u8]) -> Given {
        Given::of(from_json(bytes).unwrap())
    }

    #[test]
    fn every_scalar_counts_as_its_text() {
        let given = json(br#"{"a":"x","b":2,"c":1.5,"d":true,"e":null,"f":[1],"g":{"h":1},"a":"y"}"#);
        let texts = ["a", "b", "c", "d", "e", "f", "g"].map(|name| given.text(name).map(|text| text.into_owned()));
        assert_eq!(
            texts,
            [Some("y"), Some("2"), Some("1.5"), Some("true"), None, None, None].map(|text| text.map(str::to_owned))
        );
        assert_eq!(json(b"\xef\xbb\xbf{\"a\":\"x\"}").text("a").as_deref(), Some("x"));
        assert!(from_json(b"null").unwrap().is_empty());
    }

    #[test]
    fn a_time_comes_back_to_the_last_bit() {
        let mut time = 1_760_000_000.123_456_7_f64;
        for _ in 0..1000 {
            let sent = serde_json::to_vec(&serde_json::json!({"before": time})).unwrap();
            let read = Option::<Timestamp>::read("before", &mut json(&sent)).unwrap();
            assert_eq!(read.map(f64::to_bits), Some(time.to_bits()));
            time = f64::from_bits(time.to_bits() + 104_729);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "{", "[]", "5", "\"x\"", "{\"a\":}", "{} {}", "{\"a\":\"\\ud800\"}"] {
            assert!(from_json(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(from_json(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn deep_json_ends_in_an_error_not_in_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(from_json(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_form_is_percent_decoded() {
        let given = Given::of(from_form("a=x+y&b=%E4%BD%A0&c&=z".as_bytes()).unwrap());
        let texts = ["a", "b", "c"].map(|name| given.text(name).unwrap().into_owned());
        assert_eq!(texts, ["x y", "你", ""]);
    }

    #[test]
    fn a_body_without_a_type_is_known_by_its_first_byte() {
        for body in [&b" {\"a\":1}"[..], b"a=1"] {
            assert_eq!(Given::of(from_unnamed(body).unwrap()).text("a").as_deref(), Some("1"));
        }
    }

    #[test]
    fn ids_are_parsed_at_the_border() {
        let mut given = Given::of(from_form(b"a=5c8f582f268d7942f44c6703&b=ai&c=").unwrap());
        assert!(PartyId::read("a", &mut given).is_ok());
        assert!(matches!(PartyId::read("b", &mut given), Err(DomainError::UnknownParty)));
        assert!(matches!(PartyId::read("c", &mut given), Err(DomainError::Invalid { field: "c", .. })));
        assert!(matches!(PartyId::read("d", &mut given), Err(DomainError::Invalid { field: "d", .. })));
        assert_eq!(Maybe::read("b", &mut given).unwrap().0, None);
        assert!(matches!(Option::<PartyId>::read("c", &mut given), Ok(None)));
    }
}
