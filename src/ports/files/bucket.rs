//! A bucket of an S3 server in place of the folder, which several hubs can share.
//!
//! Each request has a time limit, and their number at once is limited. The kind of the last failure is kept for
//! `/readyz`. An object with the id of the hub marks the bucket as its own, so that a hub with another database neither
//! uses nor sweeps it.

use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, RetryConfig,
};
use tokio::sync::Semaphore;

use super::FilesError;
use crate::model::{HubId, Secret};

/// The object with the id of the hub.
pub(super) const MARK: &str = "hub";
/// The folder of the object that [`Bucket::round_trip`] writes.
const PROBE: &str = "probe";
/// The pauses between the attempts of a request.
const BACKOFF: BackoffConfig =
    BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2.0 };
/// The maximum number of attempts of a request; its time is limited as well.
const ATTEMPTS_MAX: usize = 10;

/// The settings of a bucket.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// `s3://bucket` or `s3://bucket/prefix`.
    pub url: String,
    /// The address of the server; none for that of AWS.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// Whether requests have the bucket in the path, not in the host name.
    pub path_style: bool,
    /// Key id and secret key; none for those of the environment or of the machine.
    pub credentials: Option<(String, Secret)>,
    /// A PEM file with the authorities that the server's certificate may be of; none for those of the system.
    pub certificates: Option<PathBuf>,
    /// Whether the server may be used without TLS.
    pub allow_http: bool,
    /// The limit of the time in which a connection opens.
    pub connect_timeout: Duration,
    /// The limit of one attempt.
    pub attempt_timeout: Duration,
    /// The time in which a failed request is repeated.
    pub retry_timeout: Duration,
    /// The maximum number of requests at once.
    pub parallel_max: usize,
    /// The maximum number of bytes that one request reads.
    pub piece_bytes: u64,
    /// The age at which the last check of the bucket is repeated.
    pub check_interval: Duration,
    /// The interval of the search for old answers, which lists the bucket.
    pub sweep_interval: Duration,
}

/// Why a bucket does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No answer within the time limit.
    Late,
    /// The server cannot be reached.
    Unreachable,
    /// The server answers 429, 500 or above.
    Unavailable,
    /// The server refuses the credentials, or what they may do.
    Refused,
    /// The clocks of this machine and of the server differ too much.
    ClockSkew,
    /// There is no such bucket.
    NoBucket,
    /// The bucket is in another region.
    OtherRegion,
    /// The bucket is not marked as that of this hub.
    NotOurs,
    /// Anything else.
    Other,
}

impl Trouble {
    /// Cause and remedy, in one line.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Late => {
                "the S3 server of files.url does not answer in time; check it, files.timeout_s, and whether its port is one of \
                 https:// or of http://, as files.endpoint says"
            }
            Self::Unreachable => {
                "the S3 server of files.url cannot be reached; check that it runs, files.endpoint, and whether its port is one \
                 of https:// or of http://"
            }
            Self::Unavailable => "the S3 server of files.url answers that it is not available; it is tried again",
            Self::Refused => {
                "the S3 server of files.url refuses the credentials; correct files.access_key_id and \
                 files.secret_access_key, and let them get, put, delete and list"
            }
            Self::ClockSkew => "the clocks of this machine and of the S3 server of files.url differ; set them right",
            Self::NoBucket => "the bucket of files.url does not exist; correct files.url, or create it",
            Self::OtherRegion => "the bucket of files.url is in another region; correct files.region",
            Self::NotOurs => "the bucket of files.url is not that of this hub; correct files.url",
            Self::Other => "the S3 server of files.url gives an unexpected answer, see the log",
        }
    }

    /// Whether the same request may succeed later, without a change of the settings.
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Late | Self::Unreachable | Self::Unavailable)
    }

    /// The trouble that an error of a request reports; none if the server works.
    fn of(error: &object_store::Error) -> Option<Self> {
        // The crate keeps the answer in types of its own; its code is in the text.
        let (text, kind) = describe(error);
        match code(&text) {
            Some("NoSuchBucket") => return Some(Self::NoBucket),
            Some("RequestTimeTooSkewed") => return Some(Self::ClockSkew),
            Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                return Some(Self::OtherRegion);
            }
            Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AccessDenied" | "ExpiredToken" | "InvalidToken") => {
                return Some(Self::Refused);
            }
            Some("SlowDown" | "ServiceUnavailable" | "InternalError") => return Some(Self::Unavailable),
            _ => {}
        }
        match error {
            object_store::Error::NotFound { .. }
            | object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. }
            | object_store::Error::NotModified { .. } => None,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Some(Self::Refused)
            }
            _ => Some(match (kind, status(&text)) {
                (Some(HttpErrorKind::Timeout), _) => Self::Late,
                (Some(_), _) => Self::Unreachable,
                (None, Some(status)) if status >= 500 || status == 429 || status == 408 => Self::Unavailable,
                _ if text.contains("redirect without LOCATION") => Self::OtherRegion,
                _ => Self::Other,
            }),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.advice())
    }
}

/// The texts of an error and its causes, and the kind of a failed exchange among them.
fn describe(error: &object_store::Error) -> (String, Option<HttpErrorKind>) {
    let (mut text, mut kind) = (error.to_string(), None);
    let mut cause = error.source();
    while let Some(error) = cause {
        kind = kind.or_else(|| error.downcast_ref::<HttpError>().map(HttpError::kind));
        text.push('\n');
        text.push_str(&error.to_string());
        cause = error.source();
    }
    (text, kind)
}

/// The text of a failed request, without the XML of the server, whose code is named.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Answer(String);

impl Answer {
    fn of(error: &object_store::Error) -> Self {
        let (text, _) = describe(error);
        let plain = text.split(['<', '\n']).next().unwrap_or_default().trim_end_matches([' ', ':']);
        Self(match code(&text) {
            Some(code) => format!("{plain} ({code})"),
            None => plain.to_owned(),
        })
    }
}

/// The error code of S3, such as `NoSuchBucket`, in the text of an error.
fn code(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("<Code>")?;
    rest.split_once("</Code>").map(|(code, _)| code)
}

/// The HTTP status in the text of an error.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// Why a bucket cannot be the hub's. Each error names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClaimFault {
    /// The server or the bucket does not work.
    #[error("{0}")]
    Trouble(Trouble, #[source] Option<FilesError>),
    /// A restore into the bucket has not ended.
    #[error("a restore into the bucket was interrupted or still runs; run 'toyhub restore' again, which completes it")]
    Restoring,
    /// The bucket is another hub's.
    #[error("the bucket is that of hub {found}, and the database is that of hub {expected}; name a bucket of its own")]
    Foreign {
        /// The hub that the bucket is marked with.
        found: String,
        /// The hub of the database.
        expected: HubId,
    },
    /// The bucket has no recordings, and the database has messages.
    #[error(
        "the bucket has no recordings, and the database has {messages} messages; correct files.url, or copy \
         server.data_dir/files to the bucket first"
    )]
    Empty {
        /// Messages in the database.
        messages: u64,
    },
}

impl From<FilesError> for ClaimFault {
    fn from(error: FilesError) -> Self {
        Self::Trouble(error.trouble().unwrap_or(Trouble::Other), Some(error))
    }
}

/// A bucket, or the part of it below a prefix.
pub struct Bucket {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// The same, without repetitions.
    once: Arc<dyn ObjectStore>,
    parallel: Semaphore,
    time_limit: Duration,
    pub(super) piece_bytes: u64,
    sweep_interval: Duration,
    check_interval: Duration,
    hub: Mutex<Option<HubId>>,
    last_check: Mutex<Option<(Instant, Option<Trouble>)>>,
    last_sweep: Mutex<Option<Instant>>,
    /// Whether a request has failed since the last check.
    is_in_doubt: AtomicBool,
}

impl Bucket {
    /// Prepares the requests. Opens no connection. Errors are one line, and begin with the key of the setting.
    pub fn new(settings: &BucketSettings) -> Result<Self, String> {
        let parallel_max = settings.parallel_max.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            objects: store(settings, settings.retry_timeout)?,
            once: store(settings, Duration::ZERO)?,
            parallel: Semaphore::new(parallel_max),
            time_limit: settings.attempt_timeout + settings.retry_timeout,
            piece_bytes: settings.piece_bytes.max(1),
            sweep_interval: settings.sweep_interval,
            check_interval: settings.check_interval,
            hub: Mutex::default(),
            last_check: Mutex::default(),
            last_sweep: Mutex::default(),
            is_in_doubt: AtomicBool::new(false),
        })
    }

    /// Awaits a request within the limits. A request that waits for its turn counts as late, too.
    pub(super) async fn call<T>(
        &self,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, FilesError> {
        let limited = async {
            let _permit = self.parallel.acquire().await;
            request.await
        };
        let outcome = match tokio::time::timeout(self.time_limit, limited).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => {
                self.is_in_doubt.store(true, Ordering::Relaxed);
                return Err(FilesError::Bucket { trouble: Trouble::Late, cause: None });
            }
        };
        match Trouble::of(&outcome) {
            Some(trouble) => {
                self.is_in_doubt.store(true, Ordering::Relaxed);
                Err(FilesError::Bucket { trouble, cause: Some(Answer::of(&outcome)) })
            }
            None => Err(outcome.into()),
        }
    }

    /// Checks that the bucket is this hub's, and marks a new one. `messages` is the number of messages in the database.
    pub async fn claim(&self, hub: &HubId, messages: u64) -> Result<(), ClaimFault> {
        let mark = ObjectPath::from(MARK);
        if self.restoring().await?.is_some() {
            return Err(ClaimFault::Restoring);
        }
        if self.read(&self.objects, &mark).await?.is_none() {
            if messages > 0 && self.has_no_recordings().await? {
                return Err(ClaimFault::Empty { messages });
            }
            let id = Bytes::from(hub.as_str().to_owned());
            match self.call(self.objects.put_opts(&mark, id.into(), PutMode::Create.into())).await {
                // Another hub of the same database may be first.
                Ok(_) | Err(FilesError::Store(object_store::Error::AlreadyExists { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let found = self.read(&self.objects, &mark).await?.unwrap_or_default();
        if found != hub.as_str().as_bytes() {
            let found = String::from_utf8_lossy(&found[..found.len().min(64)]).into_owned();
            return Err(ClaimFault::Foreign { found, expected: hub.clone() });
        }
        *self.hub.lock().unwrap_or_else(PoisonError::into_inner) = Some(hub.clone());
        self.note(None);
        Ok(())
    }

    /// The trouble of the bucket, by a request if the last one is too old or another request has failed since.
    pub(super) async fn check(&self) -> Option<Trouble> {
        let known = *self.last_check.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some((at, None)) if at.elapsed() < self.check_interval && !self.is_in_doubt.load(Ordering::Relaxed) => None,
            _ => {
                // If this is cancelled, the next check begins with a request, too.
                self.is_in_doubt.store(true, Ordering::Relaxed);
                let found = self.probe().await;
                self.note(found);
                found
            }
        }
    }

    async fn probe(&self) -> Option<Trouble> {
        match self.read(&self.once, &ObjectPath::from(MARK)).await {
            Ok(found) => {
                let hub = self.hub.lock().unwrap_or_else(PoisonError::into_inner);
                let is_ours = hub.as_ref().is_none_or(|hub| found.as_deref() == Some(hub.as_str().as_bytes()));
                (!is_ours).then_some(Trouble::NotOurs)
            }
            Err(error) => Some(error.trouble().unwrap_or(Trouble::Other)),
        }
    }

    fn note(&self, found: Option<Trouble>) {
        self.is_in_doubt.store(false, Ordering::Relaxed);
        *self.last_check.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), found));
    }

    /// Whether a search for old answers is due. It is then counted as made.
    pub(super) fn is_sweep_due(&self) -> bool {
        let mut last = self.last_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|at| at.elapsed() >= self.sweep_interval);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }

    pub(super) async fn read(
        &self,
        objects: &Arc<dyn ObjectStore>,
        path: &ObjectPath,
    ) -> Result<Option<Bytes>, FilesError> {
        match self.call(async { objects.get(path).await?.bytes().await }).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FilesError::Store(object_store::Error::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The QR picture of this file name.
    pub async fn picture(&self, name: &str) -> Result<Bytes, FilesError> {
        let path = ObjectPath::from_iter([super::FileKind::Qr.folder(), name]);
        self.call(async { self.objects.get(&path).await?.bytes().await }).await
    }

    async fn has_no_recordings(&self) -> Result<bool, FilesError> {
        let folder = ObjectPath::from(super::FileKind::Chat.folder());
        let mut listed = self.objects.list(Some(&folder));
        let first = self.call(async { listed.next().await.transpose() }).await?;
        Ok(first.is_none())
    }

    /// Writes, reads, lists and deletes an object, and measures the time that it takes to write and to read. Errors are
    /// one line.
    pub async fn round_trip(&self) -> Result<String, String> {
        let name = hex::encode(rand::random::<[u8; 8]>());
        let path = ObjectPath::from_iter([PROBE, name.as_str()]);
        let tried = self.write_and_read(&path).await;
        let deleted = self.call(self.objects.delete(&path)).await;
        let (put, get) =
            tried.map_err(|error| line(&error))?.ok_or("the server returned other bytes than it was sent")?;
        deleted.map_err(|error| line(&error))?;
        Ok(format!("written in {} ms, read in {} ms, listed, deleted", put.as_millis(), get.as_millis()))
    }

    async fn write_and_read(&self, path: &ObjectPath) -> Result<Option<(Duration, Duration)>, FilesError> {
        let content = Bytes::from_static(b"toyhub doctor");
        let start = Instant::now();
        self.call(self.objects.put_opts(path, content.clone().into(), PutMode::Create.into())).await?;
        let put = start.elapsed();
        // A server that ignores the condition would let two hubs replace each other's files.
        let again = self.call(self.objects.put_opts(path, content.clone().into(), PutMode::Create.into())).await;
        let is_refused = matches!(again, Err(FilesError::Store(object_store::Error::AlreadyExists { .. })));
        let start = Instant::now();
        let part = GetOptions { range: Some(GetRange::Bounded(7..13)), ..GetOptions::default() };
        let found = self.call(async { self.objects.get_opts(path, part).await?.bytes().await }).await?;
        let get = start.elapsed();
        let mut listed = self.objects.list(Some(&ObjectPath::from(PROBE)));
        let mut is_listed = false;
        while let Some(meta) = self.call(async { listed.next().await.transpose() }).await? {
            is_listed |= meta.location == *path;
        }
        Ok((is_refused && is_listed && found[..] == content[7..13]).then_some((put, get)))
    }
}

/// The trouble, or the error itself, in one line.
fn line(error: &FilesError) -> String {
    error.trouble().map_or_else(|| error.to_string(), |trouble| trouble.to_string())
}

/// The client of the settings.
fn store(settings: &BucketSettings, retry_timeout: Duration) -> Result<Arc<dyn ObjectStore>, String> {
    let rest = settings.url.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let mut options = ClientOptions::new()
        .with_allow_http(settings.allow_http)
        .with_connect_timeout(settings.connect_timeout)
        .with_timeout(settings.attempt_timeout)
        .with_pool_max_idle_per_host(settings.parallel_max);
    if let Some(path) = &settings.certificates {
        let fault = |why: String| format!("files.certificates: {}: {why}", path.display());
        let pem = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| fault(error.to_string()))?;
        if certificates.is_empty() {
            return Err(fault("there is no certificate in it".into()));
        }
        options = options.with_no_system_certificates(true);
        options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
    }
    let builder = match &settings.credentials {
        Some((id, key)) => AmazonS3Builder::new().with_access_key_id(id.as_str()).with_secret_access_key(key.reveal()),
        None => AmazonS3Builder::from_env(),
    };
    let retries = if retry_timeout.is_zero() { 0 } else { ATTEMPTS_MAX };
    let mut builder = builder
        .with_bucket_name(bucket)
        .with_region(settings.region.as_str())
        .with_virtual_hosted_style_request(!settings.path_style)
        // Not all servers have the request that deletes many objects.
        .with_disable_bulk_delete(true)
        .with_retry(RetryConfig { backoff: BACKOFF, max_retries: retries, retry_timeout })
        .with_client_options(options);
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(match (settings.path_style, endpoint.split_once("://")) {
            (false, Some((scheme, host))) => format!("{scheme}://{bucket}.{host}"),
            _ => endpoint.clone(),
        });
    }
    let objects: AmazonS3 = builder.build().map_err(|error| format!("files.url: {error}"))?;
    let prefix = ObjectPath::parse(prefix).map_err(|error| format!("files.url: {error}"))?;
    Ok(match prefix.as_ref() {
        "" => Arc::new(objects),
        _ => Arc::new(PrefixStore::new(objects, prefix)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_told_apart() {
        let generic = |text: &str| object_store::Error::Generic { store: "S3", source: text.to_owned().into() };
        let error = generic("PUT failed: <?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code></Error>");
        assert_eq!(Answer::of(&error).to_string(), "Generic S3 error: PUT failed (NoSuchBucket)");
        assert_eq!(Answer::of(&generic("no route")).to_string(), "Generic S3 error: no route");
        let not_found = |text: &str| object_store::Error::NotFound { path: "a".into(), source: text.to_owned().into() };
        let cases = [
            (generic("Server returned non-2xx status code: 503 Service Unavailable: "), Some(Trouble::Unavailable)),
            (generic("Server returned non-2xx status code: 400: <Code>RequestTimeTooSkewed</Code>"), {
                Some(Trouble::ClockSkew)
            }),
            (generic("Received redirect without LOCATION, this normally"), Some(Trouble::OtherRegion)),
            (generic("anything"), Some(Trouble::Other)),
            (not_found("<Error><Code>NoSuchBucket</Code></Error>"), Some(Trouble::NoBucket)),
            (not_found("<Error><Code>NoSuchKey</Code></Error>"), None),
            (not_found(""), None),
        ];
        for (error, expected) in cases {
            assert_eq!(Trouble::of(&error), expected, "{error}");
        }
    }
}
