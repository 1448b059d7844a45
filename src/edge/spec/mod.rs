//! The edges described for programs: OpenAPI 3.1 for HTTP, AsyncAPI 3.0 for the sockets and MQTT.
//!
//! The descriptions are generated from the code that serves them: calls with their fields and answers from
//! [`api`](crate::api), other paths and words from `http` and `ws`, codes from `status`, close codes from `ws`. The
//! topics are defined here. The tests compare them with the permissions, and the documents with the answers of a
//! running hub.
//!
//! Both documents are in `docs/`; `toyhub spec --out docs` generates them.

mod asyncapi;
mod codes;
mod openapi;
mod topics;

use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A description as a file.
pub struct Document {
    /// The file's name.
    pub name: &'static str,
    /// Its subject.
    pub about: &'static str,
    /// Its JSON text.
    pub text: String,
}

/// All descriptions.
pub fn documents() -> Result<[Document; 2], serde_json::Error> {
    let text = |document: Value| serde_json::to_string_pretty(&document).map(|text| text + "\n");
    Ok([
        Document { name: "openapi.json", about: "HTTP, as OpenAPI 3.1", text: text(openapi::document())? },
        Document {
            name: "asyncapi.json",
            about: "sockets and MQTT, as AsyncAPI 3.0",
            text: text(asyncapi::document())?,
        },
    ])
}

#[cfg(test)]
mod tests;
