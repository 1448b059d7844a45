#[path = "../../../../src/edge/ws/words.rs"]
pub mod words;

use super::frame::Request;

/// A text frame of the app socket, or a payload of a toy's topic `out`.
pub fn frame(bytes: &[u8]) {
    let Ok(mut request) = Request::parse(bytes) else { return };
    let _ = words::Word::read(&request.word, &mut request.given);
    super::http::read_each(request.given);
}
