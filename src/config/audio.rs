//! `[audio]`

use super::settings::settings;

settings! {
    /// Conversion of recordings and sounds.
    pub struct Audio {
        /// Seconds that a recording may last.
        recording_max_s: u32 = 120 => Everyday;
        /// Kilobits per second of stored MP3, rounded up to the next bit rate of the format.
        mp3_bitrate_kbps: u32 = 48;
        /// Whether a message to a toy that is sent as AMR (narrow band) is stored as it came, for toys that play AMR. It is
        /// converted to MP3 when somebody else asks for it. Recordings that are longer than recording_memory_bytes or
        /// damaged are stored as MP3, as are those to users.
        amr_to_toys: bool = false;
        /// Program for recordings that the hub cannot decode itself (HE-AAC, AMR-WB, AIFF, CAF, WMA, AVI, damaged files),
        /// a name or a path; "" for none. It runs at most once for a recording, in a thread of workers.
        ffmpeg: String = "ffmpeg".into();
        /// Seconds that this program may take for one recording. Its CPU time is what the hub left of decode_cpu_max_s.
        ffmpeg_timeout_s: u64 = 20;
        /// Bytes of memory that this program may allocate.
        ffmpeg_memory_max_bytes: u64 = 256 * 1024 * 1024;
        /// Seconds of CPU time that decoding one recording may take. Two minutes of speech take a tenth of a second on a
        /// desktop computer; a file that takes longer than this is refused as no recording (code 13).
        decode_cpu_max_s: u64 = 5;
        /// Bytes of a recording that are kept in memory until it is converted; a longer one is written to the disk.
        recording_memory_bytes: u64 = 128 * 1024;
        /// Bytes of all recordings that are kept this way. Beyond that, they are written to the disk.
        recordings_memory_bytes: u64 = 32 * 1024 * 1024;
        /// Bytes of a sound, and of a picture, that "toyhub content add" reads.
        content_max_bytes: u64 = 64 * 1024 * 1024;
        /// Seconds of CPU time that decoding one piece of the library may take, and seconds that ffmpeg may take for it.
        content_cpu_max_s: u64 = 600;
        /// Threads that convert recordings, and as many again that hash passwords.
        workers: usize = 2;
        /// Jobs that may wait for such a thread. Beyond that, requests are answered with code 17 (busy).
        queue_max: usize = 256;
        /// Such jobs of one user or toy. They run one after the other, in turns with the jobs of others.
        queue_per_party_max: usize = 32;
    }
}
