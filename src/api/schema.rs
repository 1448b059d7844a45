//! JSON Schema of requests and answers. Only keywords are used that have the same meaning in draft 7 (AsyncAPI) and in
//! 2020-12 (OpenAPI).
//!
//! Functions build single schemas. [`Components`] collects the schemas that have a name of their own while others are
//! built, so that each document lists exactly the schemas that it refers to.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::PartyKind;

/// The named schemas that the schemas built so far refer to.
#[derive(Debug, Default)]
pub struct Components(BTreeMap<&'static str, Value>);

impl Components {
    /// A reference to the schema `name`. `build` makes the schema on first use.
    pub fn named(&mut self, name: &'static str, build: impl FnOnce(&mut Self) -> Value) -> Value {
        if !self.0.contains_key(name) {
            let schema = build(self);
            self.0.insert(name, schema);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// All named schemas, by name.
    pub fn into_value(self) -> Value {
        map(self.0)
    }
}

/// Adds members to JSON objects.
pub trait With {
    /// This object with one more member; any other value stays as it is.
    #[must_use]
    fn with(self, name: &str, value: impl Into<Value>) -> Self;
}

impl With for Value {
    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Self::Object(members) = &mut self {
            members.insert(name.to_owned(), value.into());
        }
        self
    }
}

/// An object whose names are computed.
pub fn map<N: Into<String>>(members: impl IntoIterator<Item = (N, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect::<Map<_, _>>())
}

/// Any text.
pub fn text() -> Value {
    json!({"type": "string"})
}

/// A text that matches a regular expression.
pub fn pattern(pattern: &str) -> Value {
    text().with("pattern", pattern)
}

/// The id of a user, a toy, a chat, a message or a request.
pub fn id() -> Value {
    pattern("^[0-9a-f]{24}$")
}

/// The key of a device.
pub fn device_key() -> Value {
    pattern("^[0-9a-f]{32}$")
}

/// A token or ticket that the hub has made.
pub fn secret() -> Value {
    pattern("^[0-9a-f]{64}$")
}

/// The name of a stored file.
pub fn file() -> Value {
    pattern("^[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}$")
}

/// The name that a sender gives to a recording in chunks.
pub fn upload() -> Value {
    pattern("^[A-Za-z0-9_-]{1,32}$")
}

/// One of these texts.
pub fn one_of(words: &[&str]) -> Value {
    text().with("enum", words)
}

/// Exactly this value.
pub fn exactly(value: impl Into<Value>) -> Value {
    json!({"const": value.into()})
}

/// The kind of a party.
pub fn party_kind() -> Value {
    one_of(&[PartyKind::App, PartyKind::Toy].map(PartyKind::as_str))
}

/// A whole number from 0.
pub fn whole() -> Value {
    from(0)
}

/// A whole number from `least`.
pub fn from(least: u64) -> Value {
    json!({"type": "integer", "minimum": least})
}

/// Seconds since 1970, with a fraction.
pub fn seconds() -> Value {
    json!({"type": "number"})
}

/// True or false.
pub fn truth() -> Value {
    json!({"type": "boolean"})
}

/// A list.
pub fn list(items: Value) -> Value {
    json!({"type": "array", "items": items})
}

/// Exactly one of several schemas.
pub fn either(schemas: Vec<Value>) -> Value {
    json!({"oneOf": schemas})
}

/// A member of an object.
#[derive(Debug, Clone)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its schema, with its description.
    pub schema: Value,
    /// Whether it is always present.
    pub is_required: bool,
}

/// A member that is always present.
pub fn must(name: &'static str, schema: Value, about: &str) -> Property {
    Property { name, schema: described(schema, about), is_required: true }
}

/// A member that may be absent.
pub fn may(name: &'static str, schema: Value, about: &str) -> Property {
    Property { is_required: false, ..must(name, schema, about) }
}

/// A description beside a `$ref` is left out: readers of draft 7 ignore the siblings of a reference.
fn described(schema: Value, about: &str) -> Value {
    let about = about.trim();
    if about.is_empty() || schema.get("$ref").is_some() { schema } else { schema.with("description", about) }
}

/// An object with these members and no others, for answers.
pub fn closed(properties: Vec<Property>) -> Value {
    object(properties).with("additionalProperties", false)
}

/// An object with these members, in which others are ignored, for requests.
pub fn object(properties: Vec<Property>) -> Value {
    let required: Vec<&str> = properties.iter().filter(|member| member.is_required).map(|member| member.name).collect();
    let schema = json!({"type": "object"});
    let schema = if required.is_empty() { schema } else { schema.with("required", required) };
    schema.with("properties", map(properties.into_iter().map(|member| (member.name, member.schema))))
}
