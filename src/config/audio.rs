//! `[audio]`

use super::settings::settings;

settings! {
    /// Conversion of recordings and sounds.
    pub struct Audio {
        /// Seconds that a recording may last.
        recording_max_s: u32 = 120 => Everyday;
        /// Kilobits per second of stored MP3, rounded up to the next bit rate of the format.
        mp3_bitrate_kbps: u32 = 48;
        /// Program for formats that the hub does not decode itself (AMR-WB, 3GP), a name or a path; "" for none.
        ffmpeg: String = "ffmpeg".into();
        /// Seconds that this program may take for one recording.
        ffmpeg_timeout_s: u64 = 20;
        /// Seconds of CPU time that decoding one recording may take. Two minutes of speech take a tenth of a second on a
        /// desktop computer; a file that takes longer than this is refused as no recording (code 13).
        decode_cpu_max_s: u64 = 5;
        /// Threads that convert recordings, and as many again that hash passwords.
        workers: usize = 2;
        /// Jobs that may wait for such a thread. Beyond that, requests are answered with code 17 (busy).
        queue_max: usize = 256;
        /// Such jobs of one user or toy. They run one after the other, in turns with the jobs of others.
        queue_per_party_max: usize = 32;
    }
}
