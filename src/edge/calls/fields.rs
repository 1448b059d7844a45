//! The fields of a request, whatever the form in which they came.

use std::collections::HashMap;
use std::str::FromStr;

use serde_json::Value;

use crate::domain::error::DomainError;
use crate::edge::status::RequestFault;
use crate::model::{DeviceKey, FileName, PartyId, Secret};

/// Names and texts. JSON numbers and truth values count as their text, `null` as missing; lists and objects, which no
/// documented field holds, are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields(HashMap<String, String>);

impl Fields {
    /// The fields of a JSON object. `null` has none.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RequestFault> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let value = serde_json::from_slice(bytes).map_err(|_| RequestFault::BadBody("it is not JSON"))?;
        let object = match value {
            Value::Object(object) => object,
            Value::Null => return Ok(Self::default()),
            _ => return Err(RequestFault::BadBody("it is not a JSON object")),
        };
        let text_of = |value| match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        Ok(Self(object.into_iter().filter_map(|(name, value)| Some((name, text_of(value)?))).collect()))
    }

    /// The fields of an `application/x-www-form-urlencoded` text.
    pub fn from_form(bytes: &[u8]) -> Result<Self, RequestFault> {
        serde_urlencoded::from_bytes::<Vec<(String, String)>>(bytes)
            .map(|pairs| Self(pairs.into_iter().collect()))
            .map_err(|_| RequestFault::BadBody("it is not a form"))
    }

    /// Adds one field; the last one of a name counts.
    pub fn insert(&mut self, name: String, value: String) {
        self.0.insert(name, value);
    }

    /// The text of a field, if it came.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The text of a field that may be left out, which is the same as empty.
    pub fn optional(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// The text of a field that must be there; what it may hold is the domain's to say.
    pub fn required(&self, name: &'static str) -> Result<&str, DomainError> {
        self.get(name).ok_or_else(|| missing(name))
    }

    /// The text of a field that is not told to anyone.
    pub fn secret(&self, name: &'static str) -> Result<Secret, DomainError> {
        self.required(name).map(Secret::new)
    }

    /// The id of a user or toy. What is no id belongs to nobody.
    pub fn party(&self, name: &'static str) -> Result<PartyId, DomainError> {
        match self.required(name)?.trim() {
            "" => Err(missing(name)),
            text => text.parse().map_err(|_| DomainError::UnknownParty),
        }
    }

    /// The id of a user or toy, if one is given: pages send `""`, `"ai"` and `"undefined"` for none.
    pub fn optional_party(&self, name: &str) -> Option<PartyId> {
        self.optional(name).trim().parse().ok()
    }

    /// The key of a device. What is no key is no device.
    pub fn device_key(&self, name: &'static str) -> Result<DeviceKey, DomainError> {
        DeviceKey::parse_lenient(self.required(name)?).map_err(|_| DomainError::UnknownDevice)
    }

    /// A number that may be left out; `expected` says what it is.
    pub fn number<N: FromStr>(&self, name: &'static str, expected: &'static str) -> Result<Option<N>, DomainError> {
        match self.optional(name).trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| DomainError::invalid(name, expected)),
        }
    }

    /// How many items a page may have; `default` where nothing is said.
    pub fn limit(&self, expected: &'static str, default: usize) -> Result<usize, DomainError> {
        match self.number("limit", expected)? {
            Some(0) => Err(DomainError::invalid("limit", expected)),
            limit => Ok(limit.unwrap_or(default)),
        }
    }

    /// The name of a stored file, if one is given.
    pub fn optional_file(&self, name: &'static str) -> Result<Option<FileName>, DomainError> {
        match self.optional(name).trim() {
            "" => Ok(None),
            text => {
                let file = text.parse::<FileName>();
                file.map(Some).map_err(|malformed| DomainError::invalid(name, malformed.to_string()))
            }
        }
    }
}

/// A field that should have come.
pub fn missing(name: &'static str) -> DomainError {
    DomainError::invalid(name, "is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scalar_counts_as_its_text() {
        let fields =
            Fields::from_json(br#"{"a":"x","b":2,"c":1.5,"d":true,"e":null,"f":[1],"g":{"h":1},"a":"y"}"#).unwrap();
        let texts = ["a", "b", "c", "d", "e", "f", "g"].map(|name| fields.get(name));
        assert_eq!(texts, [Some("y"), Some("2"), Some("1.5"), Some("true"), None, None, None]);
        assert_eq!(Fields::from_json(b"\xef\xbb\xbf{\"a\":\"x\"}").unwrap().get("a"), Some("x"));
        assert_eq!(Fields::from_json(b"null").unwrap(), Fields::default());
    }

    #[test]
    fn a_time_comes_back_to_the_last_bit() {
        let mut time = 1_760_000_000.123_456_7_f64;
        for _ in 0..1000 {
            let sent = crate::edge::wire::Json::object([("before", time.into())]).to_vec();
            let fields = Fields::from_json(&sent).unwrap();
            assert_eq!(fields.number::<f64>("before", "").unwrap().map(f64::to_bits), Some(time.to_bits()));
            time = f64::from_bits(time.to_bits() + 104_729);
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in ["", "{", "[]", "5", "\"x\"", "{\"a\":}", "{} {}", "{\"a\":\"\\ud800\"}"] {
            assert!(Fields::from_json(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Fields::from_json(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn deep_json_ends_in_an_error_not_in_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(Fields::from_json(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_form_is_percent_decoded() {
        let fields = Fields::from_form("a=x+y&b=%E4%BD%A0&c&=z".as_bytes()).unwrap();
        assert_eq!([fields.get("a"), fields.get("b"), fields.get("c")], [Some("x y"), Some("你"), Some("")]);
    }

    #[test]
    fn ids_are_parsed_at_the_border() {
        let fields = Fields::from_form(b"a=5c8f582f268d7942f44c6703&b=ai&c=").unwrap();
        assert!(fields.party("a").is_ok());
        assert!(matches!(fields.party("b"), Err(DomainError::UnknownParty)));
        assert!(matches!(fields.party("c"), Err(DomainError::Invalid { field: "c", .. })));
        assert!(matches!(fields.party("d"), Err(DomainError::Invalid { field: "d", .. })));
        assert_eq!(fields.optional_party("b"), None);
    }
}
