//! The numbers of answers, from the tables that define them: `status` for the codes, the close codes of the socket.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::schema::{Components, Property, closed, id, may, must, text, whole};
use crate::domain::error::DomainError;
use crate::edge::status::{self, RequestFault};
use crate::edge::ws;
use crate::model::ToyId;

/// One of each variant. A variant that is not listed fails to compile.
macro_rules! every {
    ($type:ty: $($pattern:pat => $example:expr,)*) => {{
        fn is_listed(value: $type) -> $type {
            match &value {
                $($pattern => {})*
            }
            value
        }
        [$($example),*].map(is_listed)
    }};
}

/// One of each error of the hub.
fn errors() -> [DomainError; 39] {
    use DomainError::*;
    every! { DomainError:
        WrongCredentials => WrongCredentials,
        Unauthorized => Unauthorized,
        NameTaken => NameTaken,
        UnknownParty => UnknownParty,
        UnknownDevice => UnknownDevice,
        DeviceBound(_) => DeviceBound(ToyId::nobody()),
        UnknownChat => UnknownChat,
        UnknownMessage => UnknownMessage,
        UnknownRequest => UnknownRequest,
        UnknownFile => UnknownFile,
        Erased => Erased,
        NotFriends => NotFriends,
        SelfRequest => SelfRequest,
        AlreadyFriends => AlreadyFriends,
        AlreadyRequested => AlreadyRequested,
        AlreadyAnswered => AlreadyAnswered,
        RefusedLately { .. } => RefusedLately { retry_after_s: 86_400 },
        Blocked => Blocked,
        UnknownInvite => UnknownInvite,
        AlreadyGuardian => AlreadyGuardian,
        Invalid { .. } => DomainError::invalid("…", "is missing"),
        Full(_) => Full("…"),
        RateLimited { .. } => RateLimited { retry_after_s: 60 },
        NotSound => NotSound,
        EmptyRecording => EmptyRecording,
        RecordingTooLong { .. } => RecordingTooLong { max_seconds: 120 },
        UploadTooLarge { .. } => UploadTooLarge { max_bytes: 16_777_216 },
        ChunksMissing { .. } => ChunksMissing { first: 3 },
        NoSpeechModel => NoSpeechModel,
        NoSynthesiser => NoSynthesiser,
        StreamTooOld { .. } => StreamTooOld { current: 1200 },
        OutcomeUnknown(_) => OutcomeUnknown("…".into()),
        Busy => Busy,
        Unavailable(_) => Unavailable("database"),
        DiskFull => DiskFull,
        Forbidden => Forbidden,
        NotFromHere(_) => NotFromHere("making an account"),
        StoredFull { .. } => StoredFull { max_bytes: 4_294_967_296 },
        Internal(_) => DomainError::internal("…"),
    }
}

/// One of each fault of a request's form.
fn faults() -> [RequestFault; 10] {
    use RequestFault::*;
    every! { RequestFault:
        BadBody(_) => BadBody("it is not JSON"),
        TooLarge { .. } => TooLarge { max_bytes: 65_536 },
        UnsupportedType => UnsupportedType,
        TooSlow => TooSlow,
        NamesAfterRecording => NamesAfterRecording,
        NoSuchPath => NoSuchPath,
        MethodNotAllowed { .. } => MethodNotAllowed { allowed: "POST, OPTIONS" },
        NotAWebSocket => NotAWebSocket,
        RangeNotSatisfiable { .. } => RangeNotSatisfiable { size: 4096 },
        OriginNotAllowed => OriginNotAllowed,
    }
}

/// Which requests can have a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those with a body: the calls.
    Body,
    /// Downloads of files.
    File,
    /// Those that open a WebSocket.
    Socket,
    /// Those for an unknown path.
    Nowhere,
}

fn place(fault: &RequestFault) -> Scope {
    match fault {
        RequestFault::BadBody(_)
        | RequestFault::TooLarge { .. }
        | RequestFault::UnsupportedType
        | RequestFault::TooSlow
        | RequestFault::NamesAfterRecording => Scope::Body,
        RequestFault::RangeNotSatisfiable { .. } => Scope::File,
        RequestFault::NotAWebSocket | RequestFault::OriginNotAllowed => Scope::Socket,
        RequestFault::NoSuchPath | RequestFault::MethodNotAllowed { .. } => Scope::Nowhere,
    }
}

/// The meaning of one code.
#[derive(Default)]
struct Row {
    meanings: Vec<String>,
    http: BTreeSet<u16>,
    files: BTreeSet<u16>,
}

fn rows() -> BTreeMap<u16, Row> {
    let mut rows = BTreeMap::<u16, Row>::new();
    for error in errors() {
        let (of_call, of_file) = (status::of(&error), status::of_file(&error));
        let row = rows.entry(of_call.code).or_default();
        row.meanings.push(error.to_string());
        row.http.insert(of_call.http);
        row.files.insert(of_file.http);
    }
    for fault in faults() {
        let status = status::of_request(&fault);
        let row = rows.entry(status.code).or_default();
        row.meanings.push(fault.to_string());
        row.http.insert(status.http);
        row.files.insert(status.http);
    }
    rows
}

/// The schema of an answer of a call that failed; `head` are the members before `code`.
pub(super) fn failure(head: Vec<Property>, components: &mut Components) -> Value {
    let codes: Vec<u16> = rows().into_keys().collect();
    let code = json!({"type": "integer", "enum": codes});
    let data = components.named("FailureData", |_| {
        closed(vec![
            may("toy_id", id(), "With code 2: the toy of the device."),
            may("first_missing", whole(), "With code 30: the first missing chunk."),
            may("seq", whole(), "With code 29: the number of the newest event."),
            may("fault", text(), "With codes 19 and 33: the id under which the hub has logged the cause."),
        ])
    });
    let mut members = head;
    members.extend([
        must("code", code, "The kind of the failure, see the table of codes."),
        must("msg", text(), "The failure and its remedy, as text."),
        must("data", data, ""),
    ]);
    closed(members)
}

/// The table of codes, in Markdown.
pub(super) fn table() -> String {
    let numbers = |numbers: &BTreeSet<u16>| numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    let mut text =
        String::from("| Code | Meaning | HTTP | HTTP of a file |\n| --- | --- | --- | --- |\n| 0 | done | 200 | |\n");
    for (code, row) in rows() {
        let (meanings, http, files) = (row.meanings.join("; "), numbers(&row.http), numbers(&row.files));
        text.push_str(&format!("| {code} | {meanings} | {http} | {files} |\n"));
    }
    text
}

/// The HTTP statuses of failures in `place`, beside 200.
pub(super) fn http_statuses(place: Scope) -> BTreeSet<u16> {
    let of_faults = faults().into_iter().filter(|fault| self::place(fault) == place);
    let of_faults = of_faults.map(|fault| status::of_request(&fault).http);
    let status_of = match place {
        Scope::Body => status::of,
        Scope::File => status::of_file,
        Scope::Socket | Scope::Nowhere => return of_faults.collect(),
    };
    // A call that is not a file route has no column for files.
    let errors =
        errors().into_iter().filter(|error| place == Scope::File || !matches!(error, DomainError::UnknownFile));
    let of_errors = errors.map(|error| status_of(&error).http);
    of_faults.chain(of_errors).filter(|http| *http != 200).collect()
}

/// The close codes of the sockets with their reasons.
pub(super) fn close_codes() -> Value {
    let entry = |(code, reason): (u16, &'static str)| json!({"code": code, "reason": reason, "comeBack": code < 4500});
    ws::close_codes().map(entry).collect()
}

/// The same in Markdown.
pub(super) fn close_table() -> String {
    let mut text = String::from("| Close code | Reason |\n| --- | --- |\n");
    ws::close_codes().for_each(|(code, reason)| text.push_str(&format!("| {code} | {reason} |\n")));
    text
}
