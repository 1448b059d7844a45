//! The edges described for programs: OpenAPI 3.1 for HTTP, AsyncAPI 3.0 for the sockets and MQTT.
//!
//! What can be enumerated comes from the code that serves it: paths and words from `calls`, `http` and `ws`, codes from
//! `status`, close codes from `ws`. What cannot is said here once for both documents, in `calls` (what is asked) and
//! `shapes` (what is answered); the tests hold it against `wire`, the permissions, and the answers of a running hub.
//!
//! Both documents stand in `docs/`; `toyhub spec --out docs` writes them anew.

mod asyncapi;
mod calls;
mod codes;
mod openapi;
mod schema;
mod shapes;
mod topics;

use super::wire::Json;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A description as a file.
pub struct Document {
    /// The file's name.
    pub name: &'static str,
    /// What it describes.
    pub about: &'static str,
    /// Its JSON text.
    pub text: String,
}

/// All descriptions.
pub fn documents() -> Result<[Document; 2], serde_json::Error> {
    let text = |document: Json| serde_json::to_string_pretty(&document).map(|text| text + "\n");
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
