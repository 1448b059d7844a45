//! OpenAPI 3.1: what is asked over HTTP.

use super::calls::{Answer, Description, Ground, describe};
use super::codes::{self, Place};
use super::schema::{closed, component, either, exactly, map, may, must, object, one_of, text};
use super::{VERSION, shapes};
use crate::domain::FileKind;
use crate::edge::calls::{ADDED, DOCUMENTED, Name};
use crate::edge::wire::Json;
use crate::edge::{http, mqtt, ws};

const ABOUT: &str = "\
The HTTP side of a toyhub. Bodies are JSON, a form or `multipart/form-data`, whatever the `Content-Type` says; without \
one, the first byte tells. JSON numbers and truth values count as their text, `null` as missing, and fields that are not \
described are not looked at. The sockets and MQTT are described in `asyncapi.json`.

Every answer but those called bare is `{\"code\":…,\"msg\":…,\"data\":…}`. Whether a call needs a token, `[http] auth` \
says: always, never, or once its user or toy has presented one. A page that cannot set `Authorization` sends the token as \
field `token`.

This is the documented dialect. `[http] dialect = \"field\"` adds fields for older pages, and is not described here.

Every path answers `OPTIONS`; another method than those described is answered 405, another path 404, both with an \
envelope. A call that was answered code 11 says in `Retry-After` how many seconds to wait.

";

/// The document.
pub(super) fn document() -> Json {
    let calls = DOCUMENTED.into_iter().chain(ADDED).map(|(path, name)| (path, call(path, name)));
    let files = http::FILES.map(|(path, kind)| (path, file(kind)));
    let health = http::HEALTH.map(|path| (path, health(path)));
    let readiness = [(http::READINESS, readiness())];
    let paths = calls.chain(files).chain(health).chain(readiness).chain(sockets());
    Json::object([
        ("openapi", "3.1.0".into()),
        (
            "info",
            Json::object([
                ("title", "toyhub over HTTP".into()),
                ("version", VERSION.into()),
                ("description", format!("{ABOUT}{}", codes::table()).into()),
                ("license", Json::object([("name", "Apache-2.0".into()), ("identifier", "Apache-2.0".into())])),
            ]),
        ),
        ("servers", vec![Json::object([("url", "http://hub.example:9527".into())])].into()),
        ("tags", Json::list(&ROOMS, |(name, about)| tag(name, about))),
        ("paths", map(paths)),
        ("components", components()),
    ])
}

const ROOMS: [(&str, &str); 8] = [
    ("accounts", "Users, and how they log in."),
    ("content", "Songs and stories."),
    ("voice", "Recordings that go to friends, and to the toy itself."),
    ("toys", "Devices, and the toys that they become."),
    ("friends", "Address books and friend requests."),
    ("files", "Sounds and pictures."),
    ("sockets", "Where WebSockets are opened."),
    ("operation", "For those who run the hub."),
];

fn tag(name: &'static str, about: &'static str) -> Json {
    Json::object([("name", name.into()), ("description", about.into())])
}

fn call(path: &'static str, name: Name) -> Json {
    let Description { about, room, ground, mut fields, answer } = describe(name);
    fields.push(may("token", text(), "The token, where `Authorization` cannot be set."));
    let is_required = fields.iter().any(|field| field.is_required);
    let media: &[&str] = if name.takes_recording() { &["multipart/form-data"] } else { &MEDIA };
    let accepted = name.takes_recording().then(|| {
        let names = http::RECORDING_FIELDS.join("`, `");
        format!("The file may stand in any of the fields `{names}`. Its MIME type means nothing.")
    });
    let schema = object(fields);
    let content = map(media.iter().map(|media| (*media, Json::object([("schema", schema.clone())]))));
    let body = Json::object([("required", is_required.into()), ("content", content)]);
    let body = match accepted {
        Some(accepted) => body.with("description", accepted),
        None => body,
    };
    let failure = component("Failure");
    let done = match answer {
        Answer::Envelope(msg, data) => shapes::success(vec![], msg, data),
        Answer::Bare(data) => data,
    };
    let failed = codes::http_statuses(Place::Body).into_iter().map(|status| (status.to_string(), refused(status)));
    let responses = [(
        "200".to_owned(),
        json("Done, or a failure that a person or program can mend.", either(vec![done, failure])),
    )];
    let operation = operation(path.trim_start_matches('/'), room, about, security(&ground))
        .with("requestBody", body)
        .with("responses", map(responses.into_iter().chain(failed)));
    Json::object([("post", operation)])
}

/// The forms of a body without a file.
const MEDIA: [&str; 3] = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"];

fn operation(id: &str, room: &'static str, about: &'static str, security: Json) -> Json {
    Json::object([
        ("operationId", id.into()),
        ("tags", vec![room.into()].into()),
        ("summary", about.into()),
        ("security", security),
    ])
}

fn security(ground: &Ground) -> Json {
    let bearer = Json::object([("bearer", Json::List(vec![]))]);
    Json::List(match ground {
        Ground::Anybody | Ground::Connection => vec![],
        Ground::Token => vec![bearer],
        Ground::Party(..) | Ground::Answerer => vec![Json::empty(), bearer],
    })
}

fn json(about: &'static str, schema: Json) -> Json {
    let content = Json::object([("application/json", Json::object([("schema", schema)]))]);
    Json::object([("description", about.into()), ("content", content)])
}

/// A failure that the HTTP status tells too.
fn refused(status: u16) -> Json {
    let about = match status {
        400 => "The body is malformed or cut, or a header is missing.",
        401 => "A token is needed.",
        403 => "Pages of this origin may not.",
        404 => "There is nothing under this name, or not for who asks.",
        408 => "The body came too slowly.",
        413 => "The body is too large.",
        415 => "The body is of a type that is not taken.",
        416 => "The range starts behind the end of the file.",
        426 => "This path is opened as a WebSocket.",
        429 => "Too many tries.",
        503 => "The hub is busy.",
        _ => "The hub has a fault.",
    };
    let response = json(about, component("Failure"));
    let header = |name: &'static str, about| (name, header(about));
    let headers = match status {
        401 => vec![header("WWW-Authenticate", "`Bearer`.")],
        416 => vec![header("Content-Range", "`bytes */` and the size of the file.")],
        426 => vec![header("Upgrade", "`websocket`."), header("Sec-WebSocket-Version", "`13`.")],
        429 => vec![header("Retry-After", "How many seconds to wait.")],
        _ => return response,
    };
    response.with("headers", map(headers))
}

fn header(about: &'static str) -> Json {
    Json::object([("description", about.into()), ("schema", text())])
}

fn file(kind: FileKind) -> Json {
    let (id, about, media): (_, _, &[&'static str]) = match kind {
        FileKind::Music => ("get_music", "A song, a story or a sound of the hub.", &["audio/*"]),
        FileKind::Image => ("get_image", "A picture.", &["image/*"]),
        FileKind::Chat => ("get_chat", "A recording, or a spoken notice.", &["audio/*"]),
        FileKind::Qr => {
            ("get_qr", "The QR picture of a device: its key, and `.jpg` or `.png`.", &["image/jpeg", "image/png"])
        }
    };
    let parameter = |name: &'static str, place: &'static str, about: &'static str| {
        Json::object([
            ("name", name.into()),
            ("in", place.into()),
            ("required", (place == "path").into()),
            ("description", about.into()),
            ("schema", text()),
        ])
    };
    let conditions = [
        parameter("If-None-Match", "header", "The ETag that the client has."),
        parameter("If-Modified-Since", "header", "Looked at where there is no If-None-Match."),
    ];
    let ranges = [
        parameter("Range", "header", "One range, `bytes=first-last`. Several are answered with the whole."),
        parameter("If-Range", "header", "The range is only of this ETag or date; of another the whole."),
    ];
    let always = || {
        vec![
            ("ETag", header("Names this content.")),
            ("Last-Modified", header("When it was stored.")),
            ("Cache-Control", header("How long and by whom it may be kept.")),
            ("Accept-Ranges", header("`bytes`.")),
        ]
    };
    let found = |about: &'static str, has_body: bool, is_part: bool| {
        let mut headers = always();
        headers.extend(is_part.then(|| ("Content-Range", header("Which bytes of how many."))));
        let response = Json::object([("description", about.into()), ("headers", map(headers))]);
        let bytes = || map(media.iter().map(|media| (*media, Json::empty())));
        if has_body { response.with("content", bytes()) } else { response }
    };
    let operation = |id: String, has_body: bool| {
        let mut responses = vec![("200".to_owned(), found("The file.", has_body, false))];
        responses.extend(has_body.then(|| ("206".to_owned(), found("The part that was asked for.", true, true))));
        responses.push(("304".to_owned(), found("The client has it.", false, false)));
        let failed = codes::http_statuses(Place::File).into_iter().filter(|status| has_body || *status != 416);
        responses.extend(failed.map(|status| {
            let refused = refused(status);
            let bare = ["description", "headers"].map(|name| (name, refused.get(name).cloned()));
            let bare = bare.into_iter().filter_map(|(name, value)| Some((name, value?)));
            (status.to_string(), if has_body { refused } else { map(bare) })
        }));
        let conditions = conditions.iter().chain(if has_body { &ranges[..] } else { &[] });
        self::operation(&id, "files", about, Json::List(vec![Json::empty(), bearer()]))
            .with("parameters", Json::List(conditions.cloned().collect()))
            .with("responses", map(responses))
    };
    Json::object([
        ("parameters", vec![parameter("name", "path", "The name of the file.")].into()),
        ("get", operation(id.into(), true)),
        ("head", operation(format!("{id}_head"), false)),
    ])
}

fn bearer() -> Json {
    Json::object([("bearer", Json::List(vec![]))])
}

fn health(path: &'static str) -> Json {
    let runs = json("The hub runs.", closed(vec![must("ok", exactly(true), "")]));
    watched(path, "Whether the hub runs.", vec![("200", runs)])
}

fn readiness() -> Json {
    let part = |is_ready: bool| {
        let working = closed(vec![must("state", one_of(["ok", "off"]), "`off`: the configuration does without it.")]);
        let reason = must("reason", text(), "What is wrong and what to do about it.");
        let failed = closed(vec![must("state", exactly("failed"), ""), reason]);
        if is_ready { working } else { either(vec![working, failed]) }
    };
    let answer = |is_ready: bool| {
        let parts = [
            must("store", part(is_ready), "The database."),
            must("disk", part(is_ready), "The free space of the data folder."),
            must("sessions", part(is_ready), "The file of MQTT sessions and retained messages."),
            must("speech", part(is_ready), "The recognition of what children say."),
        ];
        closed(vec![must("ready", exactly(is_ready), ""), must("parts", closed(parts.into()), "")])
    };
    let responses =
        vec![("200", json("All parts work.", answer(true))), ("503", json("Some part does not work.", answer(false)))];
    let about = "Whether all parts work that the configuration asks for, as they were checked a moment ago.";
    watched(http::READINESS, about, responses)
}

/// A path for those who watch over the hub: `GET` with these responses, and `HEAD` with the same without their bodies.
fn watched(path: &'static str, about: &'static str, responses: Vec<(&'static str, Json)>) -> Json {
    let id = path.trim_start_matches('/');
    let without_body = |(status, response): &(&'static str, Json)| {
        let description = response.get("description").cloned().unwrap_or(Json::Null);
        (*status, Json::object([("description", description)]))
    };
    let head = map(responses.iter().map(without_body));
    let operation = |id: &str| self::operation(id, "operation", about, Json::List(vec![]));
    Json::object([
        ("get", operation(id).with("responses", map(responses))),
        ("head", operation(&format!("{id}_head")).with("responses", head)),
    ])
}

/// Where WebSockets are opened; what is said there is the other document's.
fn sockets() -> impl Iterator<Item = (&'static str, Json)> {
    let [legacy_app, legacy_toy] = ws::LEGACY_PATHS;
    let query = |name: &'static str, schema: Json, about: &'static str| {
        Json::object([("name", name.into()), ("in", "query".into()), ("description", about.into()), ("schema", schema)])
    };
    let id = || {
        Json::object([
            ("name", "id".into()),
            ("in", "path".into()),
            ("required", true.into()),
            ("description", "Whose socket it is.".into()),
            ("schema", super::schema::id()),
        ])
    };
    let asked = vec![
        query("ticket", text(), "A ticket of /ticket, for pages, whose handshake bears no header."),
        query("after", super::schema::whole(), "The number of the last event that the client has seen."),
    ];
    let door = |id: &'static str, about: &'static str, security: Json, parameters: Vec<Json>| {
        let failed =
            codes::http_statuses(Place::Socket).into_iter().map(|status| (status.to_string(), refused(status)));
        let opened = Json::object([("description", "The WebSocket is open.".into())]);
        let responses = [("101".to_owned(), opened)].into_iter().chain(failed);
        let operation = operation(id, "sockets", about, security);
        let operation = if parameters.is_empty() { operation } else { operation.with("parameters", parameters) };
        Json::object([("get", operation.with("responses", map(responses)))])
    };
    let optional = || Json::List(vec![Json::empty(), bearer()]);
    let nobody = || Json::List(vec![]);
    [
        (ws::PATH, door("open_app_socket", "Opens the app socket, subprotocol `toyhub.v1`.", optional(), asked)),
        (mqtt::SOCKET_PATH, door("open_mqtt", "Opens MQTT over a WebSocket, subprotocol `mqtt`.", nobody(), vec![])),
        (legacy_app, door("open_legacy_app", "Opens the socket of an older app.", optional(), vec![id()])),
        (legacy_toy, door("open_legacy_toy", "Opens the socket of an older toy.", optional(), vec![id()])),
    ]
    .into_iter()
}

fn components() -> Json {
    let bearer = Json::object([
        ("type", "http".into()),
        ("scheme", "bearer".into()),
        ("description", "A token of /login or /open_toy.".into()),
    ]);
    // What only connections are answered is the other document's.
    let schemas = shapes::components().into_iter().filter(|(name, _)| *name != "UnheardMessage");
    Json::object([("schemas", map(schemas)), ("securitySchemes", Json::object([("bearer", bearer)]))])
}
