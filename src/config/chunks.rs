//! `[chunks]`

use super::settings::settings;

settings! {
    /// Recordings and sounds in chunks, over MQTT and the app socket.
    pub struct Chunks {
        /// Recordings of one user or toy that are on their way in, chunk by chunk, over MQTT or the app socket; at one
        /// more, the one that has rested longest is given up.
        uploads_per_party_max: usize = 16;
        /// Chunks of one recording; its bytes are limited by http.upload_max_bytes.
        upload_chunks_max: u32 = 4096;
        /// Seconds after its last chunk that an unfinished recording is kept.
        upload_age_max_s: u64 = 86_400;
        /// Bytes of one chunk of a sound that is downloaded so.
        download_chunk_bytes_max: u64 = 16_384;
        /// Chunks that one such request gets; fewer than half of mqtt.queue_messages_max, and of mqtt.queue_bytes_max
        /// together, or a slow toy is cut off.
        download_chunks_max: u64 = 32;
    }
}
