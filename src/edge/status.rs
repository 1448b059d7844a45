//! The table from errors to answers: HTTP status and envelope code.
//!
//! There is no wildcard arm: a new [`DomainError`] fails to compile until it has its row here. The numbers are listed
//! in docs/http.md and never change their meaning.

use serde_json::{Value, json};

use crate::domain::error::DomainError;

/// The two numbers of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status.
    pub http: u16,
    /// The `code` of the envelope; sockets use it too.
    pub code: u16,
}

/// A failure that a person can cause and correct. The documented failures have status 200 as well.
const PERSON: Status = Status { http: 200, code: 1 };

const fn envelope(code: u16) -> Status {
    Status { http: 200, code }
}

/// The status of a documented route.
pub fn of(error: &DomainError) -> Status {
    match error {
        DomainError::WrongCredentials
        | DomainError::NameTaken
        | DomainError::UnknownParty
        | DomainError::UnknownDevice
        | DomainError::UnknownChat
        | DomainError::UnknownMessage
        | DomainError::UnknownRequest
        | DomainError::NotFriends
        | DomainError::SelfRequest
        | DomainError::AlreadyFriends
        | DomainError::AlreadyRequested
        | DomainError::AlreadyAnswered
        | DomainError::Blocked
        | DomainError::UnknownInvite
        | DomainError::AlreadyGuardian
        | DomainError::Invalid { .. } => PERSON,
        DomainError::DeviceBound(_) => envelope(2),
        DomainError::Unauthorized => envelope(10),
        DomainError::RateLimited { .. } | DomainError::RefusedLately { .. } => envelope(11),
        DomainError::Full(_) => envelope(12),
        DomainError::NotSound => envelope(13),
        DomainError::EmptyRecording => envelope(14),
        DomainError::RecordingTooLong { .. } => envelope(15),
        DomainError::NoSpeechModel => envelope(16),
        DomainError::NoSynthesiser => envelope(31),
        DomainError::Busy | DomainError::Unavailable(_) => envelope(17),
        DomainError::DiskFull => envelope(32),
        DomainError::Forbidden => envelope(18),
        DomainError::NotFromHere(_) => envelope(34),
        DomainError::StoredFull { .. } => envelope(35),
        DomainError::Internal(_) => Status { http: 500, code: 19 },
        DomainError::UploadTooLarge { .. } => Status { http: 413, code: 21 },
        DomainError::UnknownFile => Status { http: 404, code: 24 },
        DomainError::StreamTooOld { .. } => envelope(29),
        DomainError::ChunksMissing { .. } => envelope(30),
        DomainError::OutcomeUnknown(_) => envelope(33),
        DomainError::Erased => envelope(36),
    }
}

/// Logs the cause of a fault of the hub, and returns the random id in the log line, by which the answer refers to it.
/// None for all other errors, which are not faults of the hub.
pub fn log_fault(error: &DomainError) -> Option<String> {
    let (DomainError::Internal(cause) | DomainError::OutcomeUnknown(cause)) = error else { return None };
    let fault = format!("{:08x}", rand::random::<u32>());
    tracing::error!(fault, cause = describe(cause.as_ref()), "request failed");
    Some(fault)
}

/// The `data` of a failure, for programs. Logs a fault of the hub.
pub fn data_of(error: &DomainError) -> Value {
    if let Some(fault) = log_fault(error) {
        return json!({"fault": fault});
    }
    match error {
        DomainError::DeviceBound(toy) => json!({"toy_id": toy.as_str()}),
        DomainError::ChunksMissing { first } => json!({"first_missing": first}),
        DomainError::StreamTooOld { current } => json!({"seq": current}),
        _ => json!({}),
    }
}

/// An error and all its causes in one line, for the log.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The status of a file route: its body is bytes, so that only the HTTP status can report a failure.
pub fn of_file(error: &DomainError) -> Status {
    let Status { http, code } = of(error);
    let http = match error {
        DomainError::Unauthorized => 401,
        DomainError::RateLimited { .. } | DomainError::RefusedLately { .. } => 429,
        DomainError::Busy | DomainError::Unavailable(_) | DomainError::DiskFull | DomainError::OutcomeUnknown(_) => 503,
        _ if http == 200 => 404,
        _ => http,
    };
    Status { http, code }
}

/// The status of a call of the operator's console, where the HTTP status tells a refusal from a success.
pub fn of_console(error: &DomainError) -> Status {
    let Status { http, code } = of(error);
    let http = match error {
        DomainError::Unauthorized => 401,
        DomainError::WrongCredentials => 403,
        DomainError::RateLimited { .. } | DomainError::RefusedLately { .. } => 429,
        DomainError::Busy | DomainError::Unavailable(_) | DomainError::DiskFull | DomainError::OutcomeUnknown(_) => 503,
        _ if http == 200 => 400,
        _ => http,
    };
    Status { http, code }
}

/// A malformed request, refused before any rule of the domain. The text names the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// The body is truncated, or does not match its `Content-Type`.
    #[error("the request body cannot be read: {0}")]
    BadBody(&'static str),
    /// The body is larger than allowed for this kind of request.
    #[error("the request body is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: u64,
    },
    /// The body has an unsupported `Content-Type`.
    #[error("send the body as application/json, application/x-www-form-urlencoded or multipart/form-data")]
    UnsupportedType,
    /// The body paused for too long, or took too long as a whole.
    #[error("the request body was sent too slowly, send it again")]
    TooSlow,
    /// The caller's address is not one of its places, and its fields follow too far after the recording.
    #[error("send user_id or toy_id, and the token, before the recording")]
    NamesAfterRecording,
    /// No route has this path.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The route supports other methods only.
    #[error("this path takes {allowed}")]
    MethodNotAllowed {
        /// The methods, as the `Allow` header lists them.
        allowed: &'static str,
    },
    /// The path is that of a socket, and the request does not open a WebSocket (version 13).
    #[error("open this path as a WebSocket")]
    NotAWebSocket,
    /// A range that starts after the end of the file.
    #[error("the file has {size} bytes, the range starts behind them")]
    RangeNotSatisfiable {
        /// The size of the whole file.
        size: u64,
    },
    /// A page of an origin that is not allowed opens a socket.
    #[error("pages of this origin may not open a socket here")]
    OriginNotAllowed,
}

/// The status of a request whose form is wrong.
pub fn of_request(fault: &RequestFault) -> Status {
    let (http, code) = match fault {
        RequestFault::BadBody(_) => (400, 20),
        RequestFault::TooLarge { .. } => (413, 21),
        RequestFault::UnsupportedType => (415, 22),
        RequestFault::TooSlow => (408, 23),
        // As a caller without permission.
        RequestFault::NamesAfterRecording => (200, 10),
        RequestFault::NoSuchPath => (404, 24),
        RequestFault::MethodNotAllowed { .. } => (405, 25),
        RequestFault::NotAWebSocket => (426, 26),
        // The upgrade was requested, but a header is missing (RFC 6455 §4.2.2).
        RequestFault::RangeNotSatisfiable { .. } => (416, 27),
        RequestFault::OriginNotAllowed => (403, 28),
    };
    Status { http, code }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn bad_input_is_never_a_fault_of_the_hub() {
        let cases = [
            (DomainError::WrongCredentials, 200, 1),
            (DomainError::invalid("username", "is missing"), 200, 1),
            (DomainError::Unauthorized, 200, 10),
            (DomainError::NotSound, 200, 13),
            (DomainError::UploadTooLarge { max_bytes: 1 }, 413, 21),
            (DomainError::internal("disk"), 500, 19),
            (DomainError::internal(std::io::Error::from(std::io::ErrorKind::StorageFull)), 200, 32),
        ];
        for (error, http, code) in cases {
            assert_eq!(of(&error), Status { http, code }, "{error}");
        }
    }

    #[test]
    fn the_answer_to_a_fault_bears_the_id_of_its_log_line() {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let data = tracing::subscriber::with_default(subscriber, || data_of(&DomainError::internal("a cause")));
        let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let fault = data["fault"].as_str().unwrap();
        assert_eq!(fault.len(), 8);
        assert!(log.contains(&format!("fault={fault:?}")) && log.contains("a cause"), "{log}");
        assert_eq!(data_of(&DomainError::NotFriends), json!({}), "not the hub's fault");
    }

    #[test]
    fn a_file_route_and_the_console_never_answer_a_failure_with_200() {
        for error in [
            DomainError::Unauthorized,
            DomainError::UnknownFile,
            DomainError::Forbidden,
            DomainError::Busy,
            DomainError::Unavailable("database"),
            DomainError::DiskFull,
            DomainError::RateLimited { retry_after_s: 1 },
        ] {
            assert!(of_file(&error).http >= 400 && of_console(&error).http >= 400, "{error}");
        }
        assert_eq!(of_file(&DomainError::Unauthorized).http, 401);
        assert_eq!(of_file(&DomainError::UnknownFile).http, 404);
    }
}
