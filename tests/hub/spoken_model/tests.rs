#[path = "../../../src/ports/speech/recognise/tests/author.rs"]
#[allow(dead_code)]
pub mod author;
