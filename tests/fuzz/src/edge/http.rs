//! The parsers of bodies. The gate and the bytes of a body, which need the whole hub, are small ones of the fuzzer.

#[path = "../../../../src/edge/http/failure.rs"]
pub mod failure;
#[path = "../../../../src/edge/http/multipart.rs"]
pub mod multipart;
#[path = "../../../../src/edge/http/parameters.rs"]
pub mod parameters;

use std::cell::RefCell;
use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::Value;

use crate::api::request::{
    Base64, Count, Field, Given, Ignored, IgnoredKind, Limit, Maybe, Password, Wanted,
};
use crate::edge::body::{from_form, from_json, from_text};
use crate::model::{
    ChatId, ContentId, DeviceKey, DeviceName, FileName, MessageId, PartyId, RequestId, Secret, Timestamp, Topic, TopicFilter, ToyId,
    UploadName,
};

/// How many fields of a report are read.
const FIELDS_READ: usize = 16;
/// The room for texts of a multipart body.
const TEXT_MAX_BYTES: u64 = 512;
/// The room for a recording.
const RECORDING_MAX_BYTES: u64 = 1024;

/// The body of a call, as JSON and as a form.
pub fn body(bytes: &[u8]) {
    for parse in [from_json, from_form, from_text] {
        let Ok(fields) = parse(bytes) else { continue };
        let text = serde_json::to_vec(&fields).expect("fields are JSON");
        assert_eq!(from_json(&text).expect("it is JSON"), fields);
        read_each(Given::of(fields));
    }
}

/// The description of itself that a device posts when it starts: nested objects and lists beside texts and numbers, and
/// names that are put into it without escapes.
pub fn report(bytes: &[u8]) {
    let parsed = from_json(bytes);
    if let Ok(Value::Object(object)) = serde_json::from_slice(bytes) {
        assert_eq!(parsed.as_ref().ok(), Some(&object), "what is JSON is not changed");
    }
    let Ok(fields) = parsed else { return };
    let text = serde_json::to_vec(&fields).expect("fields are JSON");
    assert_eq!(from_json(&text).expect("it is JSON"), fields);
    let given = Given::of(fields.clone());
    for (name, value) in fields.iter().take(FIELDS_READ) {
        let is_scalar = matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_));
        assert_eq!(given.text(name).is_some(), is_scalar, "{name}: {value}");
        read_each(Given::of(std::iter::once((name.clone(), value.clone())).collect()));
    }
}

/// Parses the first field as each type that a field can have.
pub fn read_each(mut given: Given) {
    let Some((_, value)) = given.fields.iter().next() else { return };
    let value = value.clone();
    given.fields.insert("a".into(), value);
    macro_rules! each {
        ($($Type:ty)+) => {
            $(
                let _ = <$Type as Field>::read("a", &mut given);
                let _ = <Option<$Type> as Field>::read("a", &mut given);
            )+
        };
    }
    each! {
        String Secret Password PartyId ToyId ChatId MessageId RequestId ContentId FileName UploadName Topic TopicFilter
        DeviceKey DeviceName Wanted u64 u32 Count Limit<500> Timestamp Base64
    }
    let _ = (Maybe::read("a", &mut given), Ignored::read("a", &mut given), IgnoredKind::read("a", &mut given));
}

/// A multipart body. The first byte chooses how the gate answers, the second one the size of the pieces in which the
/// body arrives.
pub fn parts(bytes: &[u8]) {
    let [first, second, body @ ..] = bytes else { return };
    let size = usize::from(*second) + 1;
    let mut reader = reading::BodyReader(body.chunks(size).map(Bytes::copy_from_slice).collect::<VecDeque<_>>());
    let gate = match first % 4 {
        0 => None,
        1 => Some(gate::Gate::new(gate::Answer::Admit)),
        2 => Some(gate::Gate::new(gate::Answer::Hold)),
        _ => Some(gate::Gate::new(gate::Answer::Refuse)),
    };
    let limits = multipart::Limits { text_max_bytes: TEXT_MAX_BYTES, gate: gate.as_ref() };
    thread_local! {
        static RUNTIME: RefCell<tokio::runtime::Runtime> =
            RefCell::new(tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    }
    let received = RUNTIME.with_borrow_mut(|runtime| {
        runtime.block_on(multipart::receive(&mut reader, "x".to_owned(), limits))
    });
    let Ok((given, place)) = received else { return };
    assert!(reader.0.is_empty(), "the rest of the body is read");
    assert_eq!(given.recording.is_some(), place.is_some());
    assert!(given.recording.as_ref().is_none_or(|recording| recording.0 <= RECORDING_MAX_BYTES));
    let text_bytes: usize =
        given.fields.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    assert!(text_bytes as u64 <= TEXT_MAX_BYTES, "{text_bytes}");
    read_each(given);
}

pub mod reading {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use futures_util::Stream;

    use crate::edge::status::RequestFault;

    /// The pieces of a body.
    pub struct BodyReader(pub VecDeque<Bytes>);

    impl BodyReader {
        pub async fn drain(&mut self) -> Result<(), RequestFault> {
            self.0.clear();
            Ok(())
        }
    }

    impl Stream for BodyReader {
        type Item = Result<Bytes, RequestFault>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }
}

pub mod gate {
    use std::marker::PhantomData;

    use bytes::Bytes;

    use super::RECORDING_MAX_BYTES;
    use super::failure::Failure;
    use crate::api::request::Given;
    use crate::domain::Recording;
    use crate::domain::error::DomainError;
    use crate::edge::net::AddressPlace;
    use crate::edge::status::RequestFault;

    /// What the gate does with a recording.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum Answer {
        Admit,
        Hold,
        Refuse,
    }

    pub struct Gate<'e> {
        answer: Answer,
        of: PhantomData<&'e ()>,
    }

    pub struct Admitted {
        pub upload: Upload,
        pub place: AddressPlace,
    }

    /// A recording, of which only the length is kept.
    pub struct Upload(u64);

    impl From<Upload> for Recording {
        fn from(upload: Upload) -> Self {
            Self(upload.0)
        }
    }

    impl Upload {
        pub async fn write(&mut self, chunk: &Bytes) -> Result<(), DomainError> {
            self.0 += chunk.len() as u64;
            if self.0 > RECORDING_MAX_BYTES {
                return Err(DomainError::UploadTooLarge { max_bytes: RECORDING_MAX_BYTES });
            }
            Ok(())
        }
    }

    impl Gate<'_> {
        pub fn new(answer: Answer) -> Self {
            Self { answer, of: PhantomData }
        }

        pub(super) async fn admit(&self, _: &Given) -> Result<Option<Admitted>, Failure> {
            match self.answer {
                Answer::Admit => self.admit_named(&Given::default()).await.map(Some),
                Answer::Hold => Ok(None),
                Answer::Refuse => Err(DomainError::Unauthorized.into()),
            }
        }

        pub(super) async fn admit_named(&self, _: &Given) -> Result<Admitted, Failure> {
            Ok(Admitted { upload: Upload(0), place: AddressPlace })
        }

        pub(super) fn hold(&self) -> Result<Held, Failure> {
            Ok(Held { bytes: Vec::new() })
        }
    }

    pub struct Held {
        pub bytes: Vec<u8>,
    }

    impl Held {
        pub fn push(&mut self, chunk: &[u8]) -> Result<(), RequestFault> {
            if (self.bytes.len() + chunk.len()) as u64 > RECORDING_MAX_BYTES {
                return Err(RequestFault::NamesAfterRecording);
            }
            self.bytes.extend_from_slice(chunk);
            Ok(())
        }
    }
}
