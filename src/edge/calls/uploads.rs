//! What keeps a recording and a sound whole that go up and down in chunks: `upload_state`, `drop_upload`, `get_file`.

use super::fields::Fields;
use super::request::malformed_upload;
use super::{Call, Reply};
use crate::domain::error::DomainError;
use crate::domain::{Download, FileKind};
use crate::edge::wire::Json;
use crate::model::{FileName, UploadName};

/// `upload_state`: how much of a recording has come, so that its sender goes on with the first chunk that has not.
pub async fn state(call: Call) -> Result<Reply, DomainError> {
    let state = call.hub.upload_state(call.connected()?, &upload(&call.fields)?).await?;
    let data = Json::object([
        ("received", u64::from(state.received).into()),
        ("first_missing", u64::from(state.first_missing).into()),
        ("finished", state.finished.into()),
    ]);
    Ok(Reply::Bare(data))
}

/// `drop_upload`: its sender does not want it any more.
pub async fn drop_upload(call: Call) -> Result<Reply, DomainError> {
    call.hub.drop_upload(call.connected()?, &upload(&call.fields)?).await?;
    Ok(Reply::done("done"))
}

fn upload(fields: &Fields) -> Result<UploadName, DomainError> {
    fields.required("upload")?.parse().map_err(|_| malformed_upload())
}

/// `get_file`: publishes `count` chunks of a sound from number `first` on, each of `chunk_bytes`.
pub async fn get_file(call: Call) -> Result<Reply, DomainError> {
    let fields = &call.fields;
    let kind = match fields.optional("kind") {
        "" | "chat" => FileKind::Chat,
        "music" => FileKind::Music,
        "image" => FileKind::Image,
        _ => return Err(DomainError::invalid("kind", "is chat, music or image")),
    };
    let name: FileName = fields.required("name")?.trim().parse().map_err(|_| DomainError::UnknownFile)?;
    let download = Download {
        kind,
        name,
        chunk_bytes: fields.number("chunk_bytes", "a number of bytes")?,
        first: fields.number("first", "the number of a chunk")?.unwrap_or(0),
        count: fields.number("count", "a number of chunks")?,
    };
    let sent = call.hub.send_file(call.connected()?, download).await?;
    let data = Json::object([
        ("size", sent.size.into()),
        ("chunk_bytes", sent.chunk_bytes.into()),
        ("chunks", sent.chunks.into()),
        ("sent", sent.sent.into()),
    ]);
    Ok(Reply::Bare(data))
}
