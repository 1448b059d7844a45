//! The types of answers and events. Each type knows its JSON and its JSON Schema.
//!
//! `answer!` defines an object: its members with their names, types and descriptions. Each object is closed
//! (`additionalProperties: false`), so that a test that validates an answer against its schema finds every undocumented
//! member.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::schema::{self, Components, Property, With, closed, exactly};
use crate::domain::LinksOf;
use crate::model::{
    ChatId, ContentId, DeviceKey, FileName, MessageId, MessageState, Party, PartyId, PartyKind, ReminderId,
    ReminderKind, RequestId, RequestStatus, Secret, Timestamp, ToyCommand, ToyId, UserId,
};

/// A value that the hub writes.
pub trait Shape: Serialize {
    /// Whether a member of this type is always present.
    const IS_REQUIRED: bool = true;

    /// Its JSON Schema.
    fn schema(components: &mut Components) -> Value;

    /// Whether an object omits this value.
    fn is_absent(&self) -> bool {
        false
    }
}

/// An object that the hub writes.
pub trait Object: Shape {
    /// A description of one sentence.
    const ABOUT: &'static str;

    /// Its members.
    fn properties(components: &mut Components) -> Vec<Property>;
}

/// The member `name` of the type `S`.
pub fn property<S: Shape>(name: &'static str, about: &str, components: &mut Components) -> Property {
    let member = schema::must(name, S::schema(components), about);
    Property { is_required: S::IS_REQUIRED, ..member }
}

/// Defines an object that the hub writes: the struct, its JSON and its schema. The doc comments become the descriptions
/// of the schema.
///
/// `as "…"` after a field gives another name in the JSON; after the struct, a name in the documents, which then refer
/// to it. `..base: Base` as the first field puts the members of another object first.
macro_rules! answer {
    (
        $(#[doc = $about:literal])+
        $visibility:vis struct $Name:ident $(as $component:literal)? {
            $(..$base:ident: $Base:ty,)?
            $($(#[doc = $doc:literal])* $field:ident $(as $wire:literal)?: $Type:ty,)*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(serde::Serialize)]
        $visibility struct $Name {
            $(#[serde(flatten)] $base: $Base,)?
            $(
                $(#[doc = $doc])*
                $(#[serde(rename = $wire)])?
                #[serde(skip_serializing_if = "crate::api::answer::Shape::is_absent")]
                $field: $Type,
            )*
        }

        impl $crate::api::answer::Object for $Name {
            const ABOUT: &'static str = concat!($($about),+);

            #[allow(unused_variables)]
            fn properties(
                components: &mut $crate::api::schema::Components,
            ) -> Vec<$crate::api::schema::Property> {
                [
                    $(<$Base as $crate::api::answer::Object>::properties(components),)?
                    vec![$($crate::api::answer::property::<$Type>(
                        $crate::api::wire_name!($field $($wire)?),
                        concat!($($doc),*),
                        components,
                    ),)*],
                ]
                .concat()
            }
        }

        impl $crate::api::answer::Shape for $Name {
            fn schema(components: &mut $crate::api::schema::Components) -> serde_json::Value {
                let build = |components: &mut $crate::api::schema::Components| {
                    $crate::api::schema::closed(<Self as $crate::api::answer::Object>::properties(components))
                };
                $crate::api::answer::answer!(@named components, build $(, $component)?)
            }
        }
    };
    (@named $components:ident, $build:ident) => { $build($components) };
    (@named $components:ident, $build:ident, $component:literal) => { $components.named($component, $build) };
}

/// Defines an answer that is exactly one of several objects.
macro_rules! one_of {
    ($(#[doc = $about:literal])+ $visibility:vis enum $Name:ident as $component:literal { $($Variant:ident,)+ }) => {
        $(#[doc = $about])+
        #[derive(serde::Serialize)]
        #[serde(untagged)]
        $visibility enum $Name {
            $(#[doc = concat!("[`", stringify!($Variant), "`]")] $Variant($Variant),)+
        }

        impl $crate::api::answer::Shape for $Name {
            fn schema(components: &mut $crate::api::schema::Components) -> serde_json::Value {
                components.named($component, |components| {
                    $crate::api::schema::either(vec![
                        $(<$Variant as $crate::api::answer::Shape>::schema(components),)+
                    ])
                })
            }
        }
    };
}

/// Defines types that are always written as the same text.
macro_rules! words {
    ($($Name:ident = $text:literal;)+) => {$(
        #[doc = concat!("Always `", $text, "`.")]
        pub struct $Name;

        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($text)
            }
        }

        impl $crate::api::answer::Shape for $Name {
            fn schema(_: &mut $crate::api::schema::Components) -> serde_json::Value {
                $crate::api::schema::exactly($text)
            }
        }
    )+};
}

pub(crate) use {answer, one_of, words};

answer! {
    /// `{}`
    pub struct Nothing as "Nothing" {}
}

/// Defines a type that is written as the text of a type of the model.
macro_rules! texts {
    ($($(#[doc = $about:literal])+ $Name:ident, $schema:ident: $($Source:ty = $text:expr),+;)+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        pub struct $Name(String);

        $(impl From<&$Source> for $Name {
            fn from(source: &$Source) -> Self {
                let text: fn(&$Source) -> &str = $text;
                Self(text(source).to_owned())
            }
        })+

        impl Shape for $Name {
            fn schema(_: &mut Components) -> Value {
                schema::$schema()
            }
        }
    )+};
}

texts! {
    /// An id.
    Id, id:
        Party = |party| party.id(), PartyId = |id| id.as_str(), UserId = |id| id.as_str(), ToyId = |id| id.as_str(), ChatId = |id| id.as_str(),
        MessageId = |id| id.as_str(), ReminderId = |id| id.as_str(), RequestId = |id| id.as_str(), ContentId = |id| id.as_str();
    /// The key of a device.
    Key, device_key: DeviceKey = |key| key.as_str();
    /// The name of a stored file.
    File, file: FileName = |name| name.as_str();
    /// A token or ticket, shown to its owner.
    Shown, secret: Secret = |secret| secret.reveal();
}

/// A link to a sound, for players.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Link(String);

impl Link {
    /// The link to a recording or spoken sound.
    pub fn of(name: &FileName, links: &LinksOf, now: Timestamp) -> Self {
        Self(links.to(name, now))
    }
}

impl Shape for Link {
    fn schema(_: &mut Components) -> Value {
        schema::pattern("^/get_chat/[^?]+\\?sig=[0-9]+-[at][0-9a-f]{24}-[0-9a-f]{64}$")
    }
}

/// Defines a type that is written as one of the words of an enumeration of the model.
macro_rules! enumerations {
    ($($(#[doc = $about:literal])+ $Name:ident($Source:ident): $($Variant:ident),+;)+) => {$(
        $(#[doc = $about])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $Name(pub $Source);

        impl Serialize for $Name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl Shape for $Name {
            fn schema(_: &mut Components) -> Value {
                schema::one_of(&[$($Source::$Variant.as_str()),+])
            }
        }
    )+};
}

enumerations! {
    /// The kind of a party.
    Kind(PartyKind): App, Toy;
    /// The state of delivery of a message.
    State(MessageState): Sent, Delivered, Heard;
    /// The state of delivery that a receipt reports.
    ReceiptState(MessageState): Delivered, Heard;
    /// A command that a child gave to its toy.
    Command(ToyCommand): Stop, Louder, Softer;
    /// The kind of a reminder.
    ReminderWord(ReminderKind): Reminder, Alarm, Timer;
}

/// The state of a friend request, as a number.
#[derive(Debug, Clone, Copy)]
pub struct Status(pub RequestStatus);

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0 as u64)
    }
}

impl Shape for Status {
    fn schema(_: &mut Components) -> Value {
        let all = [RequestStatus::Pending, RequestStatus::Accepted, RequestStatus::Refused];
        serde_json::json!({"enum": all.map(|status| status as u64)})
    }
}

/// Always the same number.
#[derive(Debug, Clone, Copy)]
pub struct Code<const CODE: u16>;

impl<const CODE: u16> Serialize for Code<CODE> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(CODE)
    }
}

impl<const CODE: u16> Shape for Code<CODE> {
    fn schema(_: &mut Components) -> Value {
        exactly(CODE)
    }
}

/// A whole number from 1.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Positive(pub u64);

impl Shape for Positive {
    fn schema(_: &mut Components) -> Value {
        schema::from(1)
    }
}

macro_rules! plain {
    ($($Type:ty = $schema:ident;)+) => {$(
        impl Shape for $Type {
            fn schema(_: &mut Components) -> Value {
                schema::$schema()
            }
        }
    )+};
}

plain! {
    String = text;
    u64 = whole;
    u32 = whole;
    bool = truth;
    Timestamp = seconds;
}

impl<S: Shape> Shape for Vec<S> {
    fn schema(components: &mut Components) -> Value {
        schema::list(S::schema(components))
    }
}

/// A member that is omitted when there is no value.
impl<S: Shape> Shape for Option<S> {
    const IS_REQUIRED: bool = false;

    fn schema(components: &mut Components) -> Value {
        S::schema(components)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

/// A text, or `null`.
#[derive(Debug, Clone, Serialize)]
pub struct Nullable<S>(pub Option<S>);

impl<S: Shape> Shape for Nullable<S> {
    fn schema(components: &mut Components) -> Value {
        let schema = S::schema(components);
        let of = schema["type"].clone();
        schema.with("type", vec![of, "null".into()])
    }
}

/// The envelope of an answer; `head` are the members before `code`.
pub fn success(head: Vec<Property>, msg: &'static str, data: Value) -> Value {
    let mut members = head;
    members.extend([
        schema::must("code", exactly(0), ""),
        schema::must("msg", exactly(msg), ""),
        schema::must("data", data, ""),
    ]);
    closed(members)
}
