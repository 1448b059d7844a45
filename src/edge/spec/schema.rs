//! JSON Schema, as far as the documents need it: only words that mean the same in draft 7, which AsyncAPI reads, and in
//! 2020-12, which OpenAPI reads.

use std::borrow::Cow;

use crate::edge::wire::Json;
use crate::model::PartyKind;

/// An object whose names are made here.
pub(super) fn map<N: Into<Cow<'static, str>>>(fields: impl IntoIterator<Item = (N, Json)>) -> Json {
    Json::Object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

/// A list of texts.
pub(super) fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Json {
    Json::List(items.into_iter().map(Json::from).collect())
}

/// Where a schema of the components stands.
pub(super) fn component(name: &str) -> Json {
    Json::object([("$ref", format!("#/components/schemas/{name}").into())])
}

/// Any text.
pub(super) fn text() -> Json {
    Json::object([("type", "string".into())])
}

fn pattern(pattern: &'static str) -> Json {
    text().with("pattern", pattern)
}

/// The id of whatever it is.
pub(super) fn id() -> Json {
    pattern("^[0-9a-f]{24}$")
}

/// The key of a device.
pub(super) fn device_key() -> Json {
    pattern("^[0-9a-f]{32}$")
}

/// A token or ticket that the hub has made.
pub(super) fn secret() -> Json {
    pattern("^[0-9a-f]{64}$")
}

/// The name of a stored file.
pub(super) fn file() -> Json {
    pattern("^[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}$")
}

/// What a sender calls its recording in chunks.
pub(super) fn upload() -> Json {
    pattern("^[A-Za-z0-9_-]{1,32}$")
}

/// One of these texts.
pub(super) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> Json {
    text().with("enum", texts(words))
}

/// Exactly this.
pub(super) fn exactly(value: impl Into<Json>) -> Json {
    Json::object([("const", value.into())])
}

/// The kind of a party.
pub(super) fn party_kind() -> Json {
    one_of([PartyKind::App, PartyKind::Toy].map(PartyKind::as_str))
}

/// A whole number from 0.
pub(super) fn whole() -> Json {
    from(0)
}

/// A whole number from `least`.
pub(super) fn from(least: u64) -> Json {
    Json::object([("type", "integer".into()), ("minimum", least.into())])
}

/// Seconds since 1970, with a fraction.
pub(super) fn seconds() -> Json {
    Json::object([("type", "number".into())])
}

/// True or false.
pub(super) fn truth() -> Json {
    Json::object([("type", "boolean".into())])
}

/// A list.
pub(super) fn list(items: Json) -> Json {
    Json::object([("type", "array".into()), ("items", items)])
}

/// One of several, and no other of them.
pub(super) fn either(schemas: Vec<Json>) -> Json {
    Json::object([("oneOf", schemas.into())])
}

/// This text schema, or `null`.
pub(super) fn or_null(schema: Json) -> Json {
    let Json::Object(fields) = schema else { return schema };
    let or_null = |(name, value): (Cow<'static, str>, Json)| match &*name {
        "type" => (name, Json::List(vec![value, "null".into()])),
        _ => (name, value),
    };
    Json::Object(fields.into_iter().map(or_null).collect())
}

/// A field of an object.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) schema: Json,
    pub(super) is_required: bool,
}

/// A field that is always there.
pub(super) fn must(name: &'static str, schema: Json, about: &'static str) -> Property {
    Property { name, schema: described(schema, about), is_required: true }
}

/// A field that may be missing.
pub(super) fn may(name: &'static str, schema: Json, about: &'static str) -> Property {
    Property { is_required: false, ..must(name, schema, about) }
}

/// A reference stands alone: readers of draft 7 overlook what is beside it.
fn described(schema: Json, about: &'static str) -> Json {
    if about.is_empty() || schema.get("$ref").is_some() { schema } else { schema.with("description", about) }
}

/// An object with these fields and no others: what the hub says.
pub(super) fn closed(properties: Vec<Property>) -> Json {
    object(properties).with("additionalProperties", false)
}

/// An object with these fields; others are not looked at: what clients say.
pub(super) fn object(properties: Vec<Property>) -> Json {
    let required: Vec<&str> = properties.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    let schema = Json::object([("type", "object".into())]);
    let schema = if required.is_empty() { schema } else { schema.with("required", texts(required)) };
    schema.with("properties", map(properties.into_iter().map(|field| (field.name, field.schema))))
}
