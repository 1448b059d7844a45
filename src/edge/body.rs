//! Parses the fields of a request from its body, in any supported encoding.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::status::RequestFault;

/// Names and values.
pub type FieldMap = Map<String, Value>;

/// The fields of a JSON object. `null` has none.
pub fn from_json(bytes: &[u8]) -> Result<FieldMap, RequestFault> {
    match parse_json(bytes).ok_or(RequestFault::BadBody("it is not JSON"))? {
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

/// A text of a body: bytes that are not UTF-8 are replaced by U+FFFD.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The value of a JSON text. Half of a character beyond U+FFFF, which JavaScript makes where it cuts a text, is replaced
/// by U+FFFD, and so are bytes that are not UTF-8.
pub fn parse_json(bytes: &[u8]) -> Option<Value> {
    let bytes = without_padding(bytes);
    let mended = || serde_json::from_slice(&replace_halves(text(bytes).as_bytes()));
    serde_json::from_slice(bytes).or_else(|_| mended()).ok()
}

/// The text without a byte order mark, which editors add, and without the zeros at the end of a C string.
fn without_padding(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

/// Replaces `\uD800` to `\uDFFF` that are no pair by `\uFFFD`.
fn replace_halves(json: &[u8]) -> Vec<u8> {
    let unit = |at: usize| {
        let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut mended = json.to_vec();
    let mut at = 0;
    while at < json.len() {
        at += match (json[at], unit(at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff)) => {
                mended[at + 2..at + 6].copy_from_slice(b"fffd");
                6
            }
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    mended
}

/// The fields of a JSON object or a form: the first byte says which.
pub fn from_text(bytes: &[u8]) -> Result<FieldMap, RequestFault> {
    let text = without_padding(bytes);
    if text.trim_ascii_start().starts_with(b"{") { from_json(text) } else { from_form(text) }
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
    fn a_time_is_returned_to_the_last_bit() {
        let mut time = 1_760_000_000.123_456_7_f64;
        for _ in 0..1000 {
            let sent = serde_json::to_vec(&serde_json::json!({"before": time})).unwrap();
            let read = Option::<Timestamp>::read("before", &mut json(&sent)).unwrap();
            assert_eq!(read.map(f64::to_bits), Some(time.to_bits()));
            time = f64::from_bits(time.to_bits() + 104_729);
        }
    }

    #[test]
    fn json_that_is_not_an_object_is_refused() {
        for bad in ["", "{", "[]", "5", "\"x\"", "{\"a\":}", "{} {}", "{\"a\":\"\\ud80\"}"] {
            assert!(from_json(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_marks_and_zeros_are_no_reason_to_refuse_json() {
        for (sent, expected) in [
            (&b"{\"a\":\"Mia \xff\"}"[..], "Mia \u{fffd}"),
            (b"{\"a\":\"Mia \xf0\x9f\x98\"}", "Mia \u{fffd}"),
            (b"{\"a\":\"\xed\xa0\xbd \\ud83d\"}", "\u{fffd}\u{fffd}\u{fffd} \u{fffd}"),
            (b"\xef\xbb\xbf {\"a\":\"Mia\"}\r\n", "Mia"),
            (b"{\"a\":\"Mia\"}\0", "Mia"),
            (b"\xef\xbb\xbf{\"a\":\"M\xfcller\"}\n\0\0\0", "M\u{fffd}ller"),
        ] {
            assert_eq!(json(sent).text("a").as_deref(), Some(expected), "{sent:?}");
            let given = Given::of(from_text(sent).unwrap());
            assert_eq!(given.text("a").as_deref(), Some(expected), "{sent:?}");
        }
        for bad in [&b"\0"[..], b"\0{}", b"{\0}", b"\xff", b"{\"a\xff", b"\xfe\xff\0{\0}"] {
            assert!(from_json(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn half_a_character_is_replaced() {
        for (sent, expected) in [
            (r"Mia \ud83d", "Mia \u{fffd}"),
            (r"\ude00 Mia \uD83D\u0041", "\u{fffd} Mia \u{fffd}A"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"\\ud83d \ud83d", "\\ud83d \u{fffd}"),
        ] {
            assert_eq!(json(format!("{{\"a\":\"{sent}\"}}").as_bytes()).text("a").as_deref(), Some(expected), "{sent}");
        }
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
            assert_eq!(Given::of(from_text(body).unwrap()).text("a").as_deref(), Some("1"));
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
