//! TLS: the hub's certificate and the clients' certificates, read again when their files change.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::ClientCertificates;
use crate::ports::pem;

/// The reason why TLS cannot be served, with the key to correct.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {path}: {cause}; {remedy}")]
pub struct TlsFault {
    key: &'static str,
    path: String,
    cause: String,
    remedy: &'static str,
}

/// Bytes that a record has beside its data, at most: TLS 1.2 adds 24 to its header, TLS 1.3 adds 17.
const RECORD_OVERHEAD_BYTES: usize = 24;

/// What TLS is to be like for one protocol.
#[derive(Debug, Clone)]
pub struct TlsTerms {
    /// The protocol's name in log lines.
    pub protocol: &'static str,
    /// The certificate chain (PEM).
    pub certificate: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
    /// Whether clients present certificates.
    pub clients: ClientCertificates,
    /// The authorities of these certificates (PEM).
    pub client_ca: PathBuf,
    /// The protocol that clients may name (ALPN). Clients that name none are served, those that name only others
    /// are refused: their bytes are meant for another server.
    pub alpn: &'static [u8],
    /// How large a record to a client may be.
    pub record_max_bytes: usize,
    /// How often the files are examined for a change.
    pub reload_interval: Duration,
}

/// The certificate and the rest of the configuration of TLS, the latest that could be read.
#[derive(Debug)]
pub struct Tls {
    terms: TlsTerms,
    latest: watch::Sender<Arc<ServerConfig>>,
    /// The metadata of the files when they were last read.
    seen: Vec<Option<Look>>,
    orders: mpsc::Receiver<oneshot::Sender<()>>,
    reloads: Reloads,
}

/// Has the files read again at once, changed or not.
#[derive(Debug, Clone)]
pub struct Reloads(mpsc::Sender<oneshot::Sender<()>>);

impl Reloads {
    /// Returns when the files have been read, or TLS is no longer served.
    pub async fn now(&self) {
        let (done, is_done) = oneshot::channel();
        if self.0.send(done).await.is_ok() {
            // An error is the same as a full channel: the order is dropped.
            let _ = is_done.await;
        }
    }
}

/// The attributes by which a change is detected.
type Look = (SystemTime, u64, u64);

impl Tls {
    /// Reads the files.
    pub async fn load(terms: TlsTerms) -> Result<Self, TlsFault> {
        let (seen, read) = terms.clone().read().await;
        let latest = watch::Sender::new(read?);
        let (sender, orders) = mpsc::channel(1);
        Ok(Self { terms, latest, seen, orders, reloads: Reloads(sender) })
    }

    /// The configuration of new connections.
    pub(super) fn acceptors(&self) -> Acceptors {
        Acceptors(self.latest.subscribe())
    }

    /// Reloads the files.
    pub fn reloads(&self) -> Reloads {
        self.reloads.clone()
    }

    /// Reads the files again whenever they change, and on order. Never returns.
    pub(super) async fn keep_up(mut self) {
        let mut ticks = interval(self.terms.reload_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let order = tokio::select! {
                _ = ticks.tick() => None,
                order = self.orders.recv() => order,
            };
            if order.is_some() {
                // Regardless of their metadata: a copy may keep the time and the size of another file.
                self.seen.clear();
            }
            self.reload().await;
            if let Some(done) = order {
                // The receiver may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    async fn reload(&mut self) {
        let terms = self.terms.clone();
        let Ok(seen) = tokio::task::spawn_blocking(move || terms.look()).await else { return };
        if seen == self.seen {
            return;
        }
        let (seen, read) = self.terms.clone().read().await;
        self.seen = seen;
        match read {
            Ok(latest) => {
                self.latest.send_replace(latest);
                tracing::info!(protocol = self.terms.protocol, "tls certificate reloaded");
            }
            // Usually a certificate without its key, in the middle of a renewal: the next check succeeds.
            Err(fault) => tracing::error!(
                protocol = self.terms.protocol, %fault, "tls certificate not reloaded, the earlier one stays"
            ),
        }
    }
}

/// Gives each new connection the latest configuration.
#[derive(Debug, Clone)]
pub(super) struct Acceptors(watch::Receiver<Arc<ServerConfig>>);

impl Acceptors {
    pub(super) fn latest(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.borrow()))
    }
}

impl TlsTerms {
    /// The metadata and then the content of the files: in this order, a change in between is detected later.
    async fn read(self) -> (Vec<Option<Look>>, Result<Arc<ServerConfig>, TlsFault>) {
        let fault = fault("net.tls_certificate", &self.certificate, "try again");
        let read = tokio::task::spawn_blocking(move || (self.look(), self.server_config()));
        read.await.unwrap_or_else(|error| (Vec::new(), Err(fault(&error))))
    }

    fn look(&self) -> Vec<Option<Look>> {
        let look = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        };
        [&self.certificate, &self.key, &self.client_ca].into_iter().map(look).collect()
    }

    fn server_config(&self) -> Result<Arc<ServerConfig>, TlsFault> {
        let provider = Arc::new(ring::default_provider());
        let of_certificate = fault(
            "net.tls_certificate",
            &self.certificate,
            "name a readable PEM file with the certificate chain, the hub's own certificate first",
        );
        let of_key = fault("net.tls_key", &self.key, "name the readable PEM file of the certificate's key");
        let chain = pem::certificates(&self.certificate).map_err(|cause| of_certificate(&cause))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| of_key(&pem::cause(error)))?;
        let verifier = self.verifier(&provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| of_certificate(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| of_key(&error))?;
        config.alpn_protocols = vec![self.alpn.to_vec()];
        config.max_fragment_size = Some(self.record_max_bytes.saturating_sub(RECORD_OVERHEAD_BYTES));
        // A reconnecting toy saves a round trip and the expensive half of the handshake. The tickets contain the state
        // that the hub would otherwise have to store, and become invalid with these files.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(|error| of_certificate(&error))?;
        Ok(Arc::new(config))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, TlsFault> {
        if self.clients == ClientCertificates::Off {
            return Ok(WebPkiClientVerifier::no_client_auth());
        }
        let remedy = "name a readable PEM file with the authorities that signed the clients' certificates";
        let fault = fault("mqtt.tls_client_ca", &self.client_ca, remedy);
        let mut roots = RootCertStore::empty();
        for certificate in pem::certificates(&self.client_ca).map_err(|cause| fault(&cause))? {
            roots.add(certificate).map_err(|error| fault(&error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let builder = match self.clients {
            ClientCertificates::Optional => builder.allow_unauthenticated(),
            ClientCertificates::Required | ClientCertificates::Off => builder,
        };
        builder.build().map_err(|error| fault(&error))
    }
}

/// Makes the fault of a key from its cause.
fn fault(
    key: &'static str,
    path: &Path,
    remedy: &'static str,
) -> impl Fn(&dyn std::fmt::Display) -> TlsFault + Send + use<> {
    let path = path.display().to_string();
    move |cause| TlsFault { key, path: path.clone(), cause: cause.to_string(), remedy }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn make_certificate(folder: &Path) {
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=hub \
                         -keyout key.pem -out cert.pem";
        let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn terms(certificate: &Path, key: &Path) -> TlsTerms {
        TlsTerms {
            protocol: "test",
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            clients: ClientCertificates::Off,
            client_ca: PathBuf::new(),
            alpn: b"test",
            record_max_bytes: 4096,
            reload_interval: Duration::from_secs(60),
        }
    }

    #[tokio::test]
    async fn changed_files_are_read_again_and_broken_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        make_certificate(folder.path());
        let mut tls = Tls::load(terms(&certificate, &key)).await.unwrap();
        let latest = |tls: &Tls| Arc::clone(&tls.latest.borrow());
        let first = latest(&tls);
        tls.reload().await;
        assert!(Arc::ptr_eq(&first, &latest(&tls)), "nothing changed");

        std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nwrong\n").unwrap();
        tls.reload().await;
        assert!(Arc::ptr_eq(&first, &latest(&tls)), "broken");
        std::fs::remove_file(&certificate).unwrap();
        tls.reload().await;
        assert!(Arc::ptr_eq(&first, &latest(&tls)), "gone");

        let old_key = std::fs::read(&key).unwrap();
        make_certificate(folder.path());
        let new_key = std::fs::read(&key).unwrap();
        std::fs::write(&key, old_key).unwrap();
        tls.reload().await;
        assert!(Arc::ptr_eq(&first, &latest(&tls)), "a certificate whose key has not come yet");
        std::fs::write(&key, [&new_key[..], b"\n"].concat()).unwrap();
        tls.reload().await;
        assert!(!Arc::ptr_eq(&first, &latest(&tls)), "mended");
    }

    #[tokio::test]
    async fn a_fault_names_its_key_and_file_and_shows_nothing_of_it() {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path());
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let good = terms(&certificate, &key);
        let clients = TlsTerms { clients: ClientCertificates::Required, ..good.clone() };
        for (terms, expected) in [
            (TlsTerms { key: "no.pem".into(), ..good.clone() }, "net.tls_key: no.pem: cannot be read"),
            (TlsTerms { certificate: key.clone(), ..good.clone() }, "net.tls_certificate: "),
            (TlsTerms { client_ca: key, ..clients }, "mqtt.tls_client_ca: "),
        ] {
            let fault = Tls::load(terms).await.unwrap_err().to_string();
            assert!(fault.starts_with(expected) && fault.lines().count() == 1, "{fault}");
        }
    }
}
