//! `[limits]`

use super::settings::settings;

settings! {
    /// Storage limits for each user or toy.
    pub struct Limits {
        /// Bytes of the stored recordings that one user or toy has sent to its friends. At the limit its recordings are
        /// refused with code 35, until messages are erased. An hour of speech has about 20 million bytes.
        stored_bytes_per_party: u64 = 4 * 1024 * 1024 * 1024;
        /// Bytes of incomplete recordings in chunks. Beyond that, those without a new chunk for the longest time are
        /// discarded.
        chunk_bytes_per_party: u64 = 64 * 1024 * 1024;
        /// Chunks of incomplete recordings of one user or toy.
        chunks_per_party: usize = 8192;
        /// Exports at once; each reads all files of a family. Beyond that, they are answered with code 17 (busy).
        exports_parallel_max: usize = 2;
        /// Retained messages on the topics of one toy, published by it or by its owner.
        retained_messages_per_party: usize = 256;
    }
}
