//! `[server]`

use std::path::PathBuf;

use super::settings::settings;

settings! {
    /// The process.
    pub struct Server {
        /// Folder of everything that the hub keeps: database, sounds, pictures, uploads in progress, control socket.
        data_dir: PathBuf = "data".into() => Everyday;
        /// Seconds that connections get to end when the hub stops; what is left is then cut off. 0 cuts off
        /// all at once.
        shutdown_timeout_s: u64 = 10 => MayBeZero;
        /// What is logged: a level (error, warn, info, debug, trace), or a list of target=level, as RUST_LOG writes it.
        /// SIGHUP has the hub read this key again.
        log: String = "info,surrealdb=warn,surrealkv=warn,whisper_rs=warn".into() => Everyday;
        /// Bytes of the disk of data_dir that stay free. When less is free, uploads and all else that adds data are
        /// refused with code 32; reads, logins and read marks go on, in this reserve. The database needs room to clean
        /// up, too. 0 keeps no reserve.
        free_bytes_min: u64 = 256 * 1024 * 1024 => MayBeZero;
        /// File descriptors that are left to the database, files and programs. Of the rest that the system grants the
        /// process (ulimit -n, LimitNOFILE; the hub takes all up to the hard limit), one is for each connection, and half
        /// of them for one address; connections beyond that are refused.
        descriptors_reserved: u64 = 512;
        /// Seconds between two checks of database, disk, sessions and speech, which /readyz and systemd's watchdog
        /// report.
        check_interval_s: u64 = 1;
        /// Seconds that such a check may take.
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

    /// The folder of recordings to the hub, where they are kept.
    pub fn ai_recordings_dir(&self) -> PathBuf {
        self.data_dir.join("ai-recordings")
    }

    /// The Unix socket on which the command line talks to the running hub.
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }

    pub(super) fn faults(&self) -> Vec<&'static str> {
        let is_empty = self.log.trim().is_empty();
        let fault = is_empty.then_some("server.log is empty; set a level such as \"info\", or \"off\"");
        fault.into_iter().collect()
    }
}
