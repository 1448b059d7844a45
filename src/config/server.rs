//! `[server]`

use std::path::PathBuf;

use super::settings::settings;

settings! {
    /// The process.
    pub struct Server {
        /// Folder of all data of the hub: database, sounds, pictures, uploads in progress, control socket.
        data_dir: PathBuf = "data".into() => Everyday;
        /// Seconds that connections have to end when the hub stops; after that they are cut. 0 cuts them at once.
        shutdown_timeout_s: u64 = 10 => MayBeZero;
        /// Log filter: a level (error, warn, info, debug, trace), or a list of target=level, as in RUST_LOG. Lines of
        /// libraries at trace, which have the contents of messages, are never logged. whisper_rs would log an error
        /// whenever a child speaks on after a pause. SIGHUP reloads this key.
        log: String = "info,surrealdb=warn,surrealkv=warn,object_store=warn,whisper_rs=off,symphonia=off".into() => Everyday;
        /// Bytes of the disk of data_dir that stay free. When less is free, uploads and all other calls that add data
        /// are refused with code 32; reading, logging in and marking as read still work, within this reserve. The
        /// database needs free space to clean up, too. 0 keeps no reserve.
        free_bytes_min: u64 = 256 * 1024 * 1024 => MayBeZero;
        /// File descriptors that are reserved for the database, files and programs. The rest of the limit of the
        /// process (ulimit -n, LimitNOFILE; the hub raises it to the hard limit) is for connections, of which one
        /// address may use half; connections beyond that are refused.
        descriptors_reserved: u64 = 512;
        /// Hours after a start at which the clock is more than a day later than when the hub last ran. Either the hub was
        /// switched off, or the clock is wrong: until they are over, tokens and sessions do not expire, so that nobody has
        /// to log in again when the clock is set right. 0 trusts the clock at once.
        clock_doubt_h: u64 = 24 => MayBeZero;
        /// Seconds between two checks of database, disk, files, sessions and speech, which /readyz and systemd's
        /// watchdog report.
        check_interval_s: u64 = 1;
        /// Seconds after which such a check fails.
        check_timeout_s: u64 = 5;
    }
}

impl Server {
    /// The folder of the embedded database.
    pub fn database_dir(&self) -> PathBuf {
        self.data_dir.join("db")
    }

    /// The file of MQTT sessions and retained messages.
    pub fn sessions_file(&self) -> PathBuf {
        self.data_dir.join("sessions.redb")
    }

    /// The folder of stored sounds and pictures.
    pub fn files_dir(&self) -> PathBuf {
        self.data_dir.join("files")
    }

    /// The folder of uploads that are being received.
    pub fn spool_dir(&self) -> PathBuf {
        self.data_dir.join("spool")
    }

    /// The folder of recordings that come in chunks.
    pub fn chunks_dir(&self) -> PathBuf {
        self.data_dir.join("chunks")
    }

    /// The folder of recordings to the hub, if they are kept.
    pub fn ai_recordings_dir(&self) -> PathBuf {
        self.data_dir.join("ai-recordings")
    }

    /// The Unix socket by which the command line controls the running hub.
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }

    pub(super) fn faults(&self) -> Vec<&'static str> {
        let is_empty = self.log.trim().is_empty();
        let fault = is_empty.then_some("server.log is empty; set a level such as \"info\", or \"off\"");
        fault.into_iter().collect()
    }
}
