//! The types of requests. Each type parses a field of a request and knows its JSON Schema.
//!
//! Parsing is as lenient as the contract: JSON numbers and booleans count as their text, `null` as missing, and unknown
//! fields are ignored. JSON, a form and a multipart body give the same [`Given`].
//!
//! `request!` defines a request. Fields have the types of the model, so that a handler never gets an unchecked text.
//! The trait [`Field`] parses them and returns the error for a wrong value.

use std::borrow::Cow;
use std::num::IntErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::schema::{self, Property, With};
use crate::domain::Recording;
use crate::domain::error::DomainError;
use crate::model::{
    ChatId, ContentId, DeviceKey, DeviceName, FileName, MessageId, PartyId, PartyKind, RequestId, Secret, Timestamp,
    Topic, TopicFilter, ToyId, UploadName,
};

/// The fields and the recording of a request, independent of its encoding.
#[derive(Default)]
pub struct Given {
    /// Names and values. Values of forms are texts.
    pub fields: Map<String, Value>,
    /// The recording. Dropping it deletes it.
    pub recording: Option<Recording>,
}

impl Given {
    /// Fields without a recording.
    pub fn of(fields: Map<String, Value>) -> Self {
        Self { fields, recording: None }
    }

    /// The text of a field. Lists and objects count as missing, as no call takes them.
    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        text_of(self.fields.get(name)?)
    }
}

/// The text that a value counts as.
pub fn text_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(value) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// When a field is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Always.
    Required,
    /// Never.
    Optional,
    /// It names the caller (of this kind, if one is given). A client that has logged in on its connection may omit it.
    Caller(Option<PartyKind>),
    /// Unless the connection has logged in.
    Unconnected,
    /// The recording: a file of the form, or chunks that were received before.
    Recording,
}

/// A field of a request, as the documents describe it.
#[derive(Debug, Clone)]
pub struct FieldInfo {
    /// Name, schema, and whether a request over HTTP requires it.
    pub property: Property,
    /// When it is required.
    pub presence: Presence,
}

/// A request, defined by `request!`.
pub trait Request: Sized {
    /// A description of one sentence.
    const ABOUT: &'static str;

    /// Whether the request contains a recording.
    const TAKES_RECORDING: bool;

    /// Its fields.
    fn fields() -> Vec<FieldInfo>;

    /// Parses the request. Errors: `Invalid` for a missing or malformed field; `Unknown…` for an id that does not
    /// exist.
    fn read(given: &mut Given) -> Result<Self, DomainError>;
}

/// Defines a request: the struct, its parser and its schema. The doc comments become the descriptions of the schema.
/// `as "…"` after a field gives another name on the wire.
macro_rules! request {
    (
        $(#[doc = $about:literal])+
        $visibility:vis struct $Name:ident {
            $($(#[doc = $doc:literal])* $of:vis $field:ident $(as $wire:literal)?: $Type:ty,)*
        }
    ) => {
        $(#[doc = $about])+
        $visibility struct $Name {
            $($(#[doc = $doc])* $of $field: $Type,)*
        }

        impl $crate::api::request::Request for $Name {
            const ABOUT: &'static str = concat!($($about),+);
            const TAKES_RECORDING: bool = false $(|| matches!(
                <$Type as $crate::api::request::Field>::PRESENCE,
                $crate::api::request::Presence::Recording
            ))*;

            fn fields() -> Vec<$crate::api::request::FieldInfo> {
                vec![$($crate::api::request::info::<$Type>(
                    $crate::api::wire_name!($field $($wire)?),
                    concat!($($doc),*),
                ),)*]
            }

            #[allow(unused_variables)]
            fn read(given: &mut $crate::api::request::Given) -> Result<Self, $crate::domain::error::DomainError> {
                Ok(Self {
                    $($field: <$Type as $crate::api::request::Field>::read(
                        $crate::api::wire_name!($field $($wire)?),
                        given,
                    )?,)*
                })
            }
        }
    };
}

pub(crate) use request;

/// The field `name` of the type `F`.
pub fn info<F: Field>(name: &'static str, about: &str) -> FieldInfo {
    let property = schema::must(name, F::schema(), about);
    FieldInfo {
        property: Property { is_required: F::PRESENCE != Presence::Optional, ..property },
        presence: F::PRESENCE,
    }
}

/// A type that a field can have.
pub trait Field: Sized {
    /// When the field is required.
    const PRESENCE: Presence;

    /// Its JSON Schema.
    fn schema() -> Value;

    /// Parses the field `name`.
    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError>;
}

/// A type that is parsed from the text of a field. `T` is required, `Option<T>` is not.
pub trait Text: Sized {
    /// Its JSON Schema.
    fn schema() -> Value;

    /// The JSON Schema of a field that may be empty.
    fn optional_schema() -> Value {
        Self::schema()
    }

    /// Whether a text counts as missing.
    fn is_none(text: &str) -> bool {
        text.trim().is_empty()
    }

    /// Parses the text of the field `name`.
    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError>;
}

impl<T: Text> Field for T {
    const PRESENCE: Presence = Presence::Required;

    fn schema() -> Value {
        T::schema()
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError> {
        T::parse(name, &given.text(name).ok_or_else(|| missing(name))?)
    }
}

impl<T: Text> Field for Option<T> {
    const PRESENCE: Presence = Presence::Optional;

    fn schema() -> Value {
        T::optional_schema()
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError> {
        given.text(name).filter(|text| !T::is_none(text)).map(|text| T::parse(name, &text)).transpose()
    }
}

/// The error for a missing field.
pub fn missing(name: &'static str) -> DomainError {
    DomainError::invalid(name, "is missing")
}

impl Text for String {
    fn schema() -> Value {
        schema::text()
    }

    fn is_none(text: &str) -> bool {
        text.is_empty()
    }

    fn parse(_: &'static str, text: &str) -> Result<Self, DomainError> {
        Ok(text.to_owned())
    }
}

/// A token.
impl Text for Secret {
    fn schema() -> Value {
        schema::text()
    }

    fn parse(_: &'static str, text: &str) -> Result<Self, DomainError> {
        Ok(Self::new(text))
    }
}

/// A password, opaque.
pub struct Password(pub Secret);

impl Text for Password {
    fn schema() -> Value {
        schema::text().with("format", "password")
    }

    fn parse(_: &'static str, text: &str) -> Result<Self, DomainError> {
        Ok(Self(Secret::new(text)))
    }
}

/// Types of the model that are parsed with their own parser, after trimming.
macro_rules! parsed {
    ($($Type:ty = $schema:ident, |$name:ident, $malformed:ident| $error:expr;)+) => {$(
        impl Text for $Type {
            fn schema() -> Value {
                schema::$schema()
            }

            fn optional_schema() -> Value {
                schema::text()
            }

            fn parse($name: &'static str, text: &str) -> Result<Self, DomainError> {
                match text.trim() {
                    "" => Err(missing($name)),
                    text => text.parse().map_err(|$malformed: crate::model::Malformed| $error),
                }
            }
        }
    )+};
}

parsed! {
    PartyId = id, |_name, _malformed| DomainError::UnknownParty;
    ToyId = id, |_name, _malformed| DomainError::UnknownParty;
    ChatId = id, |_name, _malformed| DomainError::UnknownChat;
    MessageId = id, |_name, _malformed| DomainError::UnknownMessage;
    RequestId = id, |_name, _malformed| DomainError::UnknownRequest;
    ContentId = id, |name, _malformed| DomainError::invalid(name, "is not in the library");
    FileName = text, |name, malformed| DomainError::invalid(name, malformed.to_string());
    UploadName = upload, |_name, _malformed| malformed_upload();
}

/// Topics and filters are not trimmed: blanks are part of them.
macro_rules! topics {
    ($($Type:ty)+) => {$(
        impl Text for $Type {
            fn schema() -> Value {
                schema::text()
            }

            fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
                text.parse().map_err(|malformed: crate::model::Malformed| DomainError::invalid(name, malformed.to_string()))
            }
        }
    )+};
}

topics! { Topic TopicFilter }

/// The error for a malformed name of a recording in chunks.
fn malformed_upload() -> DomainError {
    DomainError::invalid("upload", "must have 1 to 32 letters, digits, '-' and '_'")
}

/// A scanned key may have capital letters, and blanks around it.
impl Text for DeviceKey {
    fn schema() -> Value {
        schema::pattern("^\\s*[0-9A-Fa-f]{32}\\s*$")
    }

    fn parse(_: &'static str, text: &str) -> Result<Self, DomainError> {
        Self::parse_lenient(text).map_err(|_| DomainError::UnknownDevice)
    }
}

/// A scanned key, or a code of six digits that a user has typed.
impl Text for DeviceName {
    fn schema() -> Value {
        schema::pattern("^\\s*([0-9A-Fa-f]{32}|\\d{3}\\s?\\d{3})\\s*$")
    }

    fn parse(_: &'static str, text: &str) -> Result<Self, DomainError> {
        Self::parse_lenient(text).map_err(|_| DomainError::UnknownDevice)
    }
}

/// The name of a requested file. A malformed name is answered as an unknown file.
pub struct Wanted(pub FileName);

impl Text for Wanted {
    fn schema() -> Value {
        schema::file()
    }

    fn parse(_: &'static str, text: &str) -> Result<Self, DomainError> {
        text.trim().parse().map(Self).map_err(|_| DomainError::UnknownFile)
    }
}

macro_rules! numbers {
    ($($Type:ty, $expected:literal;)+) => {$(
        impl Text for $Type {
            fn schema() -> Value {
                schema::whole()
            }

            fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
                text.trim().parse().map_err(|_| DomainError::invalid(name, $expected))
            }
        }
    )+};
}

numbers! {
    u64, "must be a whole number";
    u32, "must be a whole number up to 4294967295";
}

/// A number of 1 or more. A smaller number is accepted here; the call may raise it to the minimum.
pub struct Count(pub u64);

impl Text for Count {
    fn schema() -> Value {
        schema::from(1)
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
        u64::parse(name, text).map(Self)
    }
}

/// The number of items of a page. A number above the maximum counts as the maximum.
pub struct Limit<const MAX: u64>(pub u64);

impl<const MAX: u64> Text for Limit<MAX> {
    fn schema() -> Value {
        schema::from(1)
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
        match text.trim().parse::<u64>() {
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => Ok(Self(MAX)),
            Ok(0) | Err(_) => Err(DomainError::invalid(name, format!("must be a number from 1 to {MAX}"))),
            Ok(limit) => Ok(Self(MAX.min(limit))),
        }
    }
}

impl Text for Timestamp {
    fn schema() -> Value {
        schema::seconds()
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
        let seconds = text.trim().parse().ok().filter(|seconds: &Self| seconds.is_finite());
        seconds.ok_or_else(|| DomainError::invalid(name, "must be seconds since 1970, as create_time is"))
    }
}

/// Bytes in Base64.
pub struct Base64(pub Vec<u8>);

impl Text for Base64 {
    fn schema() -> Value {
        schema::text().with("contentEncoding", "base64")
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
        STANDARD.decode(text).map(Self).map_err(|_| DomainError::invalid(name, "is Base64 (RFC 4648 §4)"))
    }
}

/// A party, if one is given: pages write `""`, `"ai"` and `"undefined"` for none.
pub struct Maybe(pub Option<PartyId>);

impl Field for Maybe {
    const PRESENCE: Presence = Presence::Optional;

    fn schema() -> Value {
        schema::text()
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError> {
        Ok(Self(given.text(name).and_then(|text| text.trim().parse().ok())))
    }
}

/// A documented field that the hub ignores.
pub struct Ignored;

impl Field for Ignored {
    const PRESENCE: Presence = Presence::Optional;

    fn schema() -> Value {
        schema::text()
    }

    fn read(_: &'static str, _: &mut Given) -> Result<Self, DomainError> {
        Ok(Self)
    }
}

/// The documented kind of a party, which the hub ignores.
pub struct IgnoredKind;

impl Field for IgnoredKind {
    const PRESENCE: Presence = Presence::Optional;

    fn schema() -> Value {
        schema::party_kind()
    }

    fn read(_: &'static str, _: &mut Given) -> Result<Self, DomainError> {
        Ok(Self)
    }
}

impl Field for Recording {
    const PRESENCE: Presence = Presence::Recording;

    fn schema() -> Value {
        schema::text().with("contentMediaType", "application/octet-stream")
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError> {
        given.recording.take().ok_or_else(|| missing(name))
    }
}
