//! `[audio]`

use super::settings::settings;

settings! {
    /// Recordings that come in, and sounds that go out.
    pub struct Audio {
        /// Seconds that a recording may last.
        recording_max_s: u32 = 120 => Everyday;
        /// Kilobits per second of stored MP3, rounded up to the next bit rate that the format knows.
        mp3_bitrate_kbps: u32 = 48;
        /// Program for formats that the hub does not decode itself (AMR-WB, 3GP), a name or a path; "" for none.
        ffmpeg: String = "ffmpeg".into();
        /// Seconds that this program may take for one recording.
        ffmpeg_timeout_s: u64 = 20;
        /// Threads that convert recordings, and as many again that hash passwords.
        workers: usize = 2;
        /// Jobs that may wait for such a thread; at one more the client hears that the hub is busy.
        queue_max: usize = 256;
    }
}
