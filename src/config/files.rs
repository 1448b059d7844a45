//! `[files]`

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::settings::settings;
use super::store::Password;

settings! {
    /// Sounds and pictures.
    pub struct Files {
        /// "folder": in data_dir. "s3://bucket" or "s3://bucket/prefix": in a bucket of an S3 server, which the hubs of
        /// one database share.
        url: String = "folder".into();
        /// Address of the S3 server, such as "https://s3.example.org:9000". "" is that of AWS for the region.
        endpoint: String = String::new();
        /// Region of the bucket.
        region: String = "us-east-1".into();
        /// Whether the name of the bucket is in the path of requests, as most servers except AWS need it. false: it is
        /// in the host name.
        path_style: bool = true;
        /// Id of the access key. "": the key of the environment (AWS_ACCESS_KEY_ID …) or of the machine's role.
        access_key_id: String = String::new();
        /// Secret of the access key. Set it as TOYHUB_FILES__SECRET_ACCESS_KEY rather than in this file.
        secret_access_key: Password = Password::default();
        /// PEM file with the authorities of the server's certificate. "" is those of the system.
        certificates: PathBuf = PathBuf::new();
        /// Whether an endpoint may be http://, without encryption.
        allow_http: bool = false;
        /// Seconds in which a connection to the server has to open.
        connect_timeout_s: u64 = 5;
        /// Seconds that one attempt of a request may take.
        timeout_s: u64 = 10;
        /// Seconds in which a failed request is repeated, or 0 for never. Then the caller gets code 17, or status 503.
        retry_s: u64 = 10 => MayBeZero;
        /// Requests at once; others wait for their turn, within their time.
        parallel_max: usize = 64;
        /// Bytes that one request reads at most. A download of more is several requests.
        piece_bytes: u64 = 1024 * 1024;
        /// Seconds between two checks of the bucket. After a failed request it is checked at once.
        check_interval_s: u64 = 10;
        /// Seconds between two searches of the bucket for old answers.
        sweep_interval_s: u64 = 3600;
    }
}

impl Files {
    /// Whether the files are in a bucket.
    pub fn is_bucket(&self) -> bool {
        self.url != "folder"
    }

    fn is_at_ip_address(&self) -> bool {
        let authority = self.endpoint.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let address = authority.parse::<SocketAddr>().map(|address| address.ip());
        address.is_ok() || authority.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    }

    pub(super) fn faults(&self) -> Vec<&'static str> {
        let name = self.url.strip_prefix("s3://").map(|rest| rest.split('/').next().unwrap_or_default());
        let mut faults = Vec::new();
        if self.is_bucket() && name.is_none_or(str::is_empty) {
            faults.push("files.url is unknown; set \"folder\" or an address such as \"s3://bucket\"");
        }
        let is_http = self.endpoint.starts_with("http://");
        if !self.endpoint.is_empty() && !is_http && !self.endpoint.starts_with("https://") {
            faults.push("files.endpoint is no https:// address; set one, or \"\" for AWS");
        }
        if self.endpoint.split("://").nth(1).is_some_and(|rest| rest.contains('@')) {
            faults.push("files.endpoint has a user; set files.access_key_id and files.secret_access_key");
        }
        if !self.path_style && self.is_at_ip_address() {
            faults.push("files.endpoint has an IP address, which no bucket can be a name of; set files.path_style");
        }
        if is_http && !self.allow_http {
            faults.push(
                "files.endpoint is not encrypted; set an https:// address, or files.allow_http in a network of your own",
            );
        }
        if self.access_key_id.is_empty() != self.secret_access_key.reveal().is_empty() {
            faults.push("only one of files.access_key_id and files.secret_access_key is set; set both or none");
        }
        faults
    }
}
