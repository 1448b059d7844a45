//! `[limits]`

use super::settings::settings;

settings! {
    /// How much one user or toy may keep on the hub, so that nobody takes the room of the others.
    pub struct Limits {
        /// Bytes of the stored recordings that one user or toy has sent to its friends. At the limit its recordings are
        /// refused with code 35, until messages are erased. An hour of speech has about 20 million bytes.
        stored_bytes_per_party: u64 = 4 * 1024 * 1024 * 1024;
        /// Bytes of recordings that come in chunks and are not complete; at one more, those that have rested longest
        /// are given up.
        chunk_bytes_per_party: u64 = 64 * 1024 * 1024;
        /// Such chunks, in all recordings of one user or toy.
        chunks_per_party: usize = 8192;
        /// Retained messages on the topics of one toy, which it and its owner publish.
        retained_messages_per_party: usize = 256;
    }
}
