//! `[chunks]`

use super::settings::settings;

settings! {
    /// Transfer of recordings and sounds in chunks, over MQTT and the app socket.
    pub struct Chunks {
        /// Incomplete recordings of one user or toy that are uploaded in chunks. Beyond that, the one without a new
        /// chunk for the longest time is discarded.
        uploads_per_party_max: usize = 16;
        /// Chunks of one recording; its bytes are limited by http.upload_max_bytes.
        upload_chunks_max: u32 = 4096;
        /// Seconds after its last chunk that an unfinished recording is kept.
        upload_age_max_s: u64 = 86_400;
        /// Bytes of one chunk of a download.
        download_chunk_bytes_max: u64 = 16_384;
        /// Chunks that one download request gets. Together they must be fewer than half of mqtt.queue_messages_max, and
        /// smaller than half of mqtt.queue_bytes_max; otherwise a slow toy is disconnected.
        download_chunks_max: u64 = 32;
    }
}
