//! How the fields of a call are filled, by their schemas.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value, json};
use toyhub::api::request::{FieldInfo, Presence};

use super::Pool;

/// How the names of optional fields with ids end.
const ID_ENDS: [&str; 2] = ["_id", "_user"];

/// A different password each time: a name that is registered with one does not log in with the next.
static PASSWORDS: AtomicU32 = AtomicU32::new(0);

/// The plausible values of a field, the caller's own first; null is none, of a field that may be missing.
fn values(field: &FieldInfo, pool: &Pool) -> Vec<Value> {
    let none = (field.presence == Presence::Optional).then_some(Value::Null);
    given_values(field, pool).into_iter().chain(none).collect()
}

/// Whether a field has the id of a party, chat, message or request. The schema of one that may be missing is that of any
/// text.
fn is_id(field: &FieldInfo) -> bool {
    let has_pattern = field.property.schema["pattern"].as_str().is_some_and(|pattern| pattern.contains("{24}"));
    let is_named = ID_ENDS.iter().any(|end| field.property.name.ends_with(end));
    has_pattern || field.presence == Presence::Optional && is_named
}

fn given_values(field: &FieldInfo, pool: &Pool) -> Vec<Value> {
    let schema = &field.property.schema;
    let texts = |texts: Vec<&String>| texts.into_iter().map(|text| json!(text)).collect::<Vec<_>>();
    let ids = || pool.own.iter().chain(&pool.ids).collect::<Vec<_>>();
    if matches!(field.presence, Presence::Caller(_)) || is_id(field) {
        return texts(ids());
    }
    if let Some(all) = schema["enum"].as_array() {
        return all.clone();
    }
    match (schema["type"].as_str(), schema["pattern"].as_str()) {
        (_, Some(pattern)) if pattern.contains("{32}") => texts(vec![&pool.device_key]),
        (_, Some(pattern)) if pattern.contains("{1,32}") => texts(vec![&pool.upload]),
        (_, Some(_)) => texts(pool.sounds.iter().collect()),
        (Some("integer" | "number"), _) => vec![json!(schema["minimum"].as_u64().unwrap_or(0).max(1))],
        (Some("boolean"), _) => vec![json!(true), json!(false)],
        _ if schema.get("contentEncoding").is_some() => vec![json!("AAAA")],
        _ if schema["format"] == "password" => {
            vec![json!(format!("a wrong password {}", PASSWORDS.fetch_add(1, Ordering::Relaxed)))]
        }
        // A text may be an id that may be missing.
        _ => [json!("x")].into_iter().chain(texts(ids())).chain([json!(pool.upload)]).collect(),
    }
}

/// All ways to fill the fields: each caller, and with each of them every value of every other field, and every pair of
/// ids in two of them.
pub fn assignments(fields: &[FieldInfo], pool: &Pool) -> Vec<Map<String, Value>> {
    let fields: Vec<&FieldInfo> = fields.iter().filter(|field| field.presence != Presence::Recording).collect();
    let values: Vec<Vec<Value>> = fields.iter().map(|field| values(field, pool)).collect();
    let callers = |at: usize| matches!(fields[at].presence, Presence::Caller(_));
    let of_caller = (0..fields.len()).find(|at| callers(*at));
    let others: Vec<usize> = (0..fields.len()).filter(|at| !callers(*at)).collect();
    let is_id = |at: usize| is_id(fields[at]);
    // In a pair, a field that may be missing has the id of a party, or is missing.
    let parties: Vec<&String> = pool.own.iter().chain(pool.ids.iter().take(2)).collect();
    let is_paired = |at: usize, value: &Value| {
        fields[at].presence != Presence::Optional
            || value.is_null()
            || parties.iter().any(|party| *value == party.as_str())
    };
    // The first of the family's ids where there is a choice: own ids are of no interest in other fields.
    let first = |at: usize| values[at].iter().find(|value| !pool.own.iter().any(|own| *value == own.as_str()));
    let base: Vec<Value> = (0..fields.len()).map(|at| first(at).unwrap_or(&values[at][0]).clone()).collect();
    let mut all = Vec::new();
    let mut add = |changes: &[(usize, &Value)]| {
        let mut filled = base.clone();
        changes.iter().for_each(|(at, value)| filled[*at] = (*value).clone());
        let named = fields.iter().zip(filled).map(|(field, value)| (field.property.name.to_owned(), value));
        all.push(named.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>());
    };
    let nobody = vec![Value::Null];
    for caller in of_caller.map_or(&nobody, |at| &values[at]) {
        let mut changes: Vec<(usize, &Value)> = of_caller.map(|at| (at, caller)).into_iter().collect();
        add(&changes);
        for (number, at) in others.iter().enumerate() {
            for value in &values[*at] {
                changes.push((*at, value));
                add(&changes);
                for other in others[number + 1..].iter().filter(|other| is_id(*at) && is_id(**other)) {
                    for second in values[*other].iter().filter(|second| is_paired(*other, second)) {
                        changes.push((*other, second));
                        add(&changes);
                        changes.pop();
                    }
                }
                changes.pop();
            }
        }
    }
    all.dedup();
    all
}
