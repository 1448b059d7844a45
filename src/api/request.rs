//! What clients write: types that are read from the fields of a request, and know their schema.
//!
//! Reading is as lenient as the contract: JSON numbers and truth values count as their text, `null` as missing, unknown
//! fields are ignored. JSON, a form and a multipart body give the same [`Given`].
//!
//! `request!` defines a request. A field is of the model's own type, so that a handler never sees
//! a text that can be wrong; the trait [`Field`] says how it is read and what refuses it.

use std::borrow::Cow;
use std::num::IntErrorKind;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::schema::{self, Property, With};
use crate::domain::Recording;
use crate::domain::error::DomainError;
use crate::model::{
    ChatId, ContentId, DeviceKey, FileName, MessageId, PartyId, PartyKind, RequestId, Secret, Timestamp, Topic,
    TopicFilter, ToyId, UploadName,
};

/// What came with a request, whatever its form.
#[derive(Default)]
pub struct Given {
    /// Names and values. Those of forms are texts.
    pub fields: Map<String, Value>,
    /// The recording. Dropping it deletes it.
    pub recording: Option<Recording>,
}

impl Given {
    /// Fields without a recording.
    pub fn of(fields: Map<String, Value>) -> Self {
        Self { fields, recording: None }
    }

    /// The text of a field. Lists and objects, which no call takes, count as missing.
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

/// When a field has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Always.
    Required,
    /// Never.
    Optional,
    /// It names the caller, of this kind if one is given: a client that has logged in on its connection may leave it out.
    Caller(Option<PartyKind>),
    /// Unless the connection itself says it.
    Unconnected,
    /// It is the recording: a file of the form, or chunks that came before.
    Recording,
}

/// A field of a request, as the documents describe it.
#[derive(Debug, Clone)]
pub struct FieldInfo {
    /// Name, schema, and whether it has to be there in a request without a connection.
    pub property: Property,
    /// When it has to be there.
    pub presence: Presence,
}

/// A request, defined by `request!`.
pub trait Request: Sized {
    /// What it asks for, in a sentence.
    const ABOUT: &'static str;

    /// Whether a recording comes with it.
    const TAKES_RECORDING: bool;

    /// Its fields.
    fn fields() -> Vec<FieldInfo>;

    /// Reads it. Errors: `Invalid` for what is missing or malformed; `Unknown…` for what names nothing.
    fn read(given: &mut Given) -> Result<Self, DomainError>;
}

/// Defines a request from one statement: the struct, how it is read, and its schema, in which the doc comments are the
/// descriptions. `as "…"` after a field gives another name on the wire.
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
    /// When the field has to be there.
    const PRESENCE: Presence;

    /// Its JSON Schema.
    fn schema() -> Value;

    /// Reads the field `name`.
    fn read(name: &'static str, given: &mut Given) -> Result<Self, DomainError>;
}

/// A type that is read from the text of a field. `T` is required, `Option<T>` is not.
pub trait Text: Sized {
    /// Its JSON Schema.
    fn schema() -> Value;

    /// Its JSON Schema where it may be empty.
    fn optional_schema() -> Value {
        Self::schema()
    }

    /// Whether a text counts as none.
    fn is_none(text: &str) -> bool {
        text.trim().is_empty()
    }

    /// Reads the text of the field `name`.
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

/// The error of a field that should have come.
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

/// Types of the model that are read with their own parser, after blanks around them are gone.
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

/// Topics and filters, in which blanks count.
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

/// The error of a name for a recording in chunks that is none.
fn malformed_upload() -> DomainError {
    DomainError::invalid("upload", "has 1 to 32 letters, digits, '-' and '_'")
}

/// A scanned key may have capitals, and blanks around it.
impl Text for DeviceKey {
    fn schema() -> Value {
        schema::pattern("^\\s*[0-9A-Fa-f]{32}\\s*$")
    }

    fn parse(_: &'static str, text: &str) -> Result<Self, DomainError> {
        Self::parse_lenient(text).map_err(|_| DomainError::UnknownDevice)
    }
}

/// A file that is asked for. What is no name of a file is no file.
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
    u64, "is a whole number";
    u32, "is a whole number up to 4294967295";
}

/// A number that makes sense from 1. A smaller one is left to the call, which may take the nearest that does.
pub struct Count(pub u64);

impl Text for Count {
    fn schema() -> Value {
        schema::from(1)
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
        u64::parse(name, text).map(Self)
    }
}

/// How many items a page may have: a larger number is taken for the largest.
pub struct Limit<const MAX: u64>(pub u64);

impl<const MAX: u64> Text for Limit<MAX> {
    fn schema() -> Value {
        schema::from(1)
    }

    fn parse(name: &'static str, text: &str) -> Result<Self, DomainError> {
        match text.trim().parse::<u64>() {
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => Ok(Self(MAX)),
            Ok(0) | Err(_) => Err(DomainError::invalid(name, format!("is a number from 1 to {MAX}"))),
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
        seconds.ok_or_else(|| DomainError::invalid(name, "seconds since 1970, as create_time"))
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

/// A documented field that the hub does not look at.
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

/// The documented kind of a party, which the hub does not look at.
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
