//! OpenAPI 3.1: the calls over HTTP.

use serde_json::{Value, json};

use super::VERSION;
use super::codes::{self, Scope};
use crate::api::answer;
use crate::api::schema::{Components, With, closed, either, exactly, map, may, must, object, one_of, text};
use crate::api::{self, Entry, Permitted, ServedAt, Subject};
use crate::domain::FileKind;
use crate::edge::{http, mqtt, ws};

const ABOUT: &str = "\
The HTTP side of a toyhub. Bodies are JSON, a form or `multipart/form-data`, as the `Content-Type` states; without \
one, the first byte determines the type. JSON numbers and booleans count as their text, `null` as missing, and undocumented \
fields are ignored. The sockets and MQTT are described in `asyncapi.json`.

Every answer except those called bare is `{\"code\":…,\"msg\":…,\"data\":…}`. `[auth] mode` states whether a call without a \
token is permitted: from an address at which its user or toy has authenticated, never, or always. A page that cannot set \
`Authorization` sends the token as field `token`.

This is the documented dialect. `[http] dialect = \"field\"` adds fields for legacy clients, and is not described here.

Every path answers `OPTIONS`. An undocumented method is answered 405, an unknown path 404, both with an \
envelope. An answer with code 11 has a `Retry-After` header with the seconds to wait.

";

/// The document.
pub(super) fn document() -> Value {
    let mut components = Components::default();
    let mut paths = Vec::new();
    for subject in api::SUBJECTS {
        for entry in served(subject) {
            paths.push((format!("/{}", entry.facts.name), call(subject, entry, &mut components)));
        }
    }
    paths.extend(http::FILES.map(|(path, kind)| (path.to_owned(), file(kind, &mut components))));
    paths.push((api::export::PATH.to_owned(), export(&mut components)));
    paths.extend(http::HEALTH.map(|path| (path.to_owned(), health(path))));
    paths.push((http::READINESS.to_owned(), readiness()));
    paths.extend(sockets(&mut components));
    let about = format!("{ABOUT}{}", codes::table());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "toyhub over HTTP",
            "version": VERSION,
            "description": about,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://hub.example:9527"}],
        "tags": tags(),
        "paths": map(paths),
        "components": {
            "schemas": components.into_value(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of /login or /open_toy."},
            },
        },
    })
}

/// The calls of a subject that have a path.
fn served(subject: &Subject) -> impl Iterator<Item = &'static Entry> + use<> {
    subject.calls.iter().filter(|call| call.facts.served_at != ServedAt::Connection)
}

fn tags() -> Value {
    const OTHERS: [(&str, &str); 3] = [
        ("files", "Sounds and pictures."),
        ("sockets", "Paths that open WebSockets."),
        ("operation", "For operators of the hub."),
    ];
    let subjects = api::SUBJECTS.iter().filter(|subject| served(subject).next().is_some());
    let subjects = subjects.map(|subject| (subject.name, subject.about));
    subjects.chain(OTHERS).map(|(name, about)| json!({"name": name, "description": about})).collect()
}

fn call(subject: &Subject, entry: &Entry, components: &mut Components) -> Value {
    let mut fields: Vec<_> = (entry.fields)().into_iter().map(|field| field.property).collect();
    fields.push(may("token", text(), "The token, if `Authorization` cannot be set."));
    let is_required = fields.iter().any(|field| field.is_required);
    let media: &[&str] = if entry.takes_recording { &["multipart/form-data"] } else { &MEDIA };
    let schema = object(fields);
    let content = map(media.iter().map(|media| (*media, json!({"schema": schema}))));
    let mut body = json!({"required": is_required, "content": content});
    if entry.takes_recording {
        let names = http::RECORDING_FIELDS.join("`, `");
        let about = format!("The file may stand in any of the fields `{names}`. Its MIME type is ignored.");
        body = body.with("description", about);
    }
    let failure = failure(components);
    let data = (entry.answer)(components);
    let done = match entry.facts.msg {
        Some(msg) => answer::success(vec![], msg, data),
        None => data,
    };
    let done = json("Success, or a failure that a person or program can correct.", either(vec![done, failure]));
    let failed = codes::http_statuses(Scope::Body).into_iter();
    let failed: Vec<_> = failed.map(|status| (status.to_string(), refused(status, components))).collect();
    let responses = [("200".to_owned(), done)].into_iter().chain(failed);
    let operation = operation(entry.facts.name, subject.name, entry.about.trim(), security(entry.facts.permitted))
        .with("requestBody", body)
        .with("responses", map(responses));
    json!({"post": operation})
}

/// The forms of a body without a file.
const MEDIA: [&str; 3] = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"];

fn operation(id: &str, tag: &str, about: &str, security: Value) -> Value {
    json!({"operationId": id, "tags": [tag], "summary": about, "security": security})
}

fn security(who: Permitted) -> Value {
    match who {
        Permitted::Anybody | Permitted::Connected => json!([]),
        Permitted::Token | Permitted::NamedByToken => json!([bearer()]),
        Permitted::Named | Permitted::Answerer => optional_bearer(),
    }
}

fn bearer() -> Value {
    json!({"bearer": []})
}

fn optional_bearer() -> Value {
    json!([{}, bearer()])
}

fn json(about: &str, schema: Value) -> Value {
    json!({"description": about, "content": {"application/json": {"schema": schema}}})
}

fn failure(components: &mut Components) -> Value {
    components.named("Failure", |components| codes::failure(vec![], components))
}

/// A failure with an HTTP status of its own.
fn refused(status: u16, components: &mut Components) -> Value {
    let about = match status {
        400 => "The body is malformed or cut, or a header is missing.",
        401 => "A token is needed.",
        403 => "The origin of the page is not allowed.",
        404 => "No file has this name, or the caller may not download it.",
        408 => "The body was sent too slowly.",
        413 => "The body is too large.",
        415 => "The type of the body is not supported.",
        416 => "The range starts after the end of the file.",
        426 => "This path requires a WebSocket handshake.",
        429 => "Too many attempts.",
        503 => "The hub is busy.",
        _ => "The hub has a fault.",
    };
    let response = json(about, failure(components));
    let header = |name: &'static str, about| (name, header(about));
    let headers = match status {
        401 => vec![header("WWW-Authenticate", "`Bearer`.")],
        416 => vec![header("Content-Range", "`bytes */` and the size of the file.")],
        426 => vec![header("Upgrade", "`websocket`."), header("Sec-WebSocket-Version", "`13`.")],
        429 => vec![header("Retry-After", "The seconds to wait.")],
        _ => return response,
    };
    response.with("headers", map(headers))
}

fn header(about: &str) -> Value {
    json!({"description": about, "schema": text()})
}

fn file(kind: FileKind, components: &mut Components) -> Value {
    let (id, about, media): (_, _, &[&str]) = match kind {
        FileKind::Music => ("get_music", "A song, a story or a sound of the hub.", &["audio/*"]),
        FileKind::Image => ("get_image", "A picture.", &["image/*"]),
        FileKind::Chat => ("get_chat", "A recording, or a spoken notice.", &["audio/*"]),
        FileKind::Qr => {
            ("get_qr", "The QR picture of a device: its key, and `.jpg` or `.png`.", &["image/jpeg", "image/png"])
        }
    };
    let parameter = |name: &str, place: &str, about: &str| json!({"name": name, "in": place, "required": place == "path", "description": about, "schema": text()});
    let conditions = [
        parameter("If-None-Match", "header", "The ETag that the client has."),
        parameter("If-Modified-Since", "header", "Ignored if there is an If-None-Match."),
    ];
    let ranges = [
        parameter("Range", "header", "One range, `bytes=first-last`. Several ranges are answered with the whole file."),
        parameter(
            "If-Range",
            "header",
            "The ETag or date for which the range is valid; otherwise the whole file is sent.",
        ),
    ];
    let found = |about: &str, has_body: bool, is_part: bool| {
        let mut headers = vec![
            ("ETag", header("Identifies this content.")),
            ("Last-Modified", header("When it was stored.")),
            ("Cache-Control", header("How long and by which caches it may be kept.")),
            ("Accept-Ranges", header("`bytes`.")),
        ];
        headers.extend(is_part.then(|| ("Content-Range", header("The range of bytes, and the size of the file."))));
        let response = json!({"description": about, "headers": map(headers)});
        let bytes = || map(media.iter().map(|media| (*media, json!({}))));
        if has_body { response.with("content", bytes()) } else { response }
    };
    let mut operation = |id: String, has_body: bool| {
        let mut responses = vec![("200".to_owned(), found("The file.", has_body, false))];
        responses.extend(has_body.then(|| ("206".to_owned(), found("The requested part.", true, true))));
        responses.push(("304".to_owned(), found("The client has the current version.", false, false)));
        for status in codes::http_statuses(Scope::File).into_iter().filter(|status| has_body || *status != 416) {
            let mut refused = refused(status, components);
            if let (false, Value::Object(members)) = (has_body, &mut refused) {
                members.retain(|name, _| name != "content");
            }
            responses.push((status.to_string(), refused));
        }
        let conditions = conditions.iter().chain(if has_body { &ranges[..] } else { &[] });
        self::operation(&id, "files", about, optional_bearer())
            .with("parameters", conditions.cloned().collect::<Value>())
            .with("responses", map(responses))
    };
    json!({
        "parameters": [parameter("name", "path", "The name of the file.")],
        "get": operation(id.into(), true),
        "head": operation(format!("{id}_head"), false),
    })
}

/// The archive of a family.
fn export(components: &mut Components) -> Value {
    let archive = json!({
        "description": "The data of the family as a ZIP, generated while it is sent.",
        "headers": map([
            ("Content-Disposition", header("A name for the file.")),
            ("Cache-Control", header("`no-store`.")),
        ]),
        "content": {"application/zip": {}},
    });
    let mut responses = vec![("200".to_owned(), archive)];
    let refusals = [401, 404, 503].map(|status| (status.to_string(), refused(status, components)));
    responses.extend(refusals);
    let ticket = json!({
        "name": "name", "in": "path", "required": true, "description": "The ticket of `export`, which is valid once.",
        "schema": text(),
    });
    let about = "Downloads the archive of a ticket of `export`.";
    let operation = operation("get_export", "files", about, json!([])).with("responses", map(responses));
    json!({"parameters": [ticket], "get": operation})
}

fn health(path: &'static str) -> Value {
    let runs = json("The hub runs.", closed(vec![must("ok", exactly(true), "")]));
    watched(path, "Whether the hub runs.", vec![("200", runs)])
}

fn readiness() -> Value {
    let part = |is_ready: bool| {
        let about = "`off`: the configuration turns it off. `loading`: clients that need it wait.";
        let working = closed(vec![must("state", one_of(&["ok", "off", "loading"]), about)]);
        let faulty = |state: &str, about: &str| {
            closed(vec![must("state", exactly(state), about), must("reason", text(), "The fault and its remedy.")])
        };
        let degraded = faulty("degraded", "The hub goes on without it.");
        either(if is_ready { vec![working, degraded] } else { vec![working, degraded, faulty("failed", "")] })
    };
    let answer = |is_ready: bool| {
        let parts = [
            must("store", part(is_ready), "The database."),
            must("disk", part(is_ready), "The free space of the data folder."),
            must("files", part(is_ready), "The bucket of sounds and pictures; `off` if they are in the data folder."),
            must("bus", part(is_ready), "The bus to the other hubs; `off` for a single hub."),
            must("sessions", part(is_ready), "The file of MQTT sessions and retained messages."),
            must("speech", part(is_ready), "Speech recognition."),
        ];
        closed(vec![must("ready", exactly(is_ready), ""), must("parts", closed(parts.into()), "")])
    };
    let responses =
        vec![("200", json("All parts work.", answer(true))), ("503", json("A part does not work.", answer(false)))];
    let about = "Whether all configured parts work, by the last check.";
    watched(http::READINESS, about, responses)
}

/// A path for monitoring: `GET` with these responses, and `HEAD` with the same without their bodies.
fn watched(path: &str, about: &str, responses: Vec<(&'static str, Value)>) -> Value {
    let id = path.trim_start_matches('/');
    let without_body =
        |(status, response): &(&'static str, Value)| (*status, json!({"description": response["description"]}));
    let head = map(responses.iter().map(without_body));
    let operation = |id: &str| self::operation(id, "operation", about, json!([]));
    json!({
        "get": operation(id).with("responses", map(responses)),
        "head": operation(&format!("{id}_head")).with("responses", head),
    })
}

/// Paths that open WebSockets; their messages are in the other document.
fn sockets(components: &mut Components) -> [(String, Value); 4] {
    let [legacy_app, legacy_toy] = ws::LEGACY_PATHS;
    let query = |name: &str, schema: Value, about: &str| json!({"name": name, "in": "query", "description": about, "schema": schema});
    let id = || {
        let schema = api::schema::id();
        json!({"name": "id", "in": "path", "required": true, "description": "The user or toy of the socket.", "schema": schema})
    };
    let asked = vec![
        query("ticket", text(), "A ticket of /ticket, for web pages, which cannot set a header in the handshake."),
        query("after", api::schema::whole(), "The number of the last event that the client has seen."),
    ];
    let mut socket = |path: &str, id: &str, about: &str, security: Value, parameters: Vec<Value>| {
        let failed = codes::http_statuses(Scope::Socket).into_iter();
        let failed: Vec<_> = failed.map(|status| (status.to_string(), refused(status, components))).collect();
        let opened = json!({"description": "The WebSocket is open."});
        let responses = [("101".to_owned(), opened)].into_iter().chain(failed);
        let operation = operation(id, "sockets", about, security);
        let operation = if parameters.is_empty() { operation } else { operation.with("parameters", parameters) };
        (path.to_owned(), json!({"get": operation.with("responses", map(responses))}))
    };
    let app = "Opens the app socket, subprotocol `toyhub.v1`.";
    let mqtt_about = "Opens MQTT over a WebSocket, subprotocol `mqtt`, `mqttv3.1` or none.";
    [
        socket(ws::PATH, "open_app_socket", app, optional_bearer(), asked),
        socket(mqtt::SOCKET_PATH, "open_mqtt", mqtt_about, json!([]), vec![]),
        socket(legacy_app, "open_legacy_app", "Opens the socket of a legacy app.", optional_bearer(), vec![id()]),
        socket(legacy_toy, "open_legacy_toy", "Opens the socket of a legacy toy.", optional_bearer(), vec![id()]),
    ]
}
