//! A certificate authority for one home network, and the hub's certificate, which it signs.
//!
//! The certificate of the authority is installed on phones and toys once. It stays the same when the hub's certificate
//! is renewed or gets more names.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sha2::{Digest as _, Sha256};
use time::{Date, Duration, OffsetDateTime};
use tokio_rustls::rustls::pki_types::ServerName;

/// The lifetime of the authority.
const AUTHORITY: Duration = Duration::days(3650);
/// The lifetime of the hub's certificate. Apple's phones refuse certificates of more than 825 days.
const CERTIFICATE: Duration = Duration::days(820);
/// The clocks of toys and phones may be behind.
const CLOCK_SKEW: Duration = Duration::days(1);

/// The files of a certificate.
#[derive(Debug)]
pub struct Made {
    /// The authority's certificate, for phones and toys.
    pub authority: PathBuf,
    /// Whether the authority existed before.
    pub is_known: bool,
    /// The hub's certificate.
    pub certificate: PathBuf,
    /// The key of the hub's certificate.
    pub key: PathBuf,
    /// The last day of its validity.
    pub until: Date,
    /// The names and addresses in the certificate.
    pub names: Vec<String>,
}

/// Creates a certificate for `names`, the names of this machine and its addresses, in `folder`: `hub.pem` and
/// `hub.key`. The authority is in `ca.pem` and `ca.key`, which are created if they do not exist. `now` is in seconds
/// since 1970.
///
/// The error is one line for the operator.
pub fn make(folder: &Path, names: &[String], now: i64) -> Result<Made, String> {
    let [authority, authority_key, certificate, key] =
        ["ca.pem", "ca.key", "hub.pem", "hub.key"].map(|name| folder.join(name));
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error: &dyn std::fmt::Display| format!("{path}: {error}")
    };
    std::fs::create_dir_all(folder).map_err(|error| at(folder)(&error))?;
    let is_known = authority_key.exists();
    if let Some(other) = [&authority, &certificate, &key].into_iter().find(|path| path.exists()).filter(|_| !is_known) {
        return Err(format!("{}: it was not made by toyhub, there is no ca.key; name another folder", other.display()));
    }
    let failed = |error: rcgen::Error| format!("the certificate could not be made: {error}");
    let now = OffsetDateTime::from_unix_timestamp(now).map_err(|error| error.to_string())?;

    let signing_key = if is_known {
        let text = std::fs::read_to_string(&authority_key).map_err(|error| at(&authority_key)(&error))?;
        KeyPair::from_pem(&text).map_err(|error| at(&authority_key)(&error))?
    } else {
        KeyPair::generate().map_err(failed)?
    };
    let terms = authority_terms(&signing_key, now);
    if !is_known {
        let text = terms.self_signed(&signing_key).map_err(failed)?.pem();
        write(&authority_key, &signing_key.serialize_pem()).map_err(|error| at(&authority_key)(&error))?;
        write(&authority, &text).map_err(|error| at(&authority)(&error))?;
    }
    let issuer = Issuer::new(terms, signing_key);

    let names = all_names(names);
    let hub_key = KeyPair::generate().map_err(failed)?;
    let terms = certificate_terms(&names, now)?;
    let text = terms.signed_by(&hub_key, &issuer).map_err(failed)?.pem();
    // A running hub reloads both files. As long as they do not match, it waits for the second one.
    write(&key, &hub_key.serialize_pem()).map_err(|error| at(&key)(&error))?;
    write(&certificate, &text).map_err(|error| at(&certificate)(&error))?;
    Ok(Made { authority, is_known, certificate, key, until: terms.not_after.date(), names })
}

/// The authority's name is derived from its key, so that the authorities of two hubs differ.
fn authority_terms(key: &KeyPair, now: OffsetDateTime) -> CertificateParams {
    let digest = hex::encode(Sha256::digest(key.public_key_raw()));
    let mut terms = CertificateParams::default();
    terms.distinguished_name = named(format!("toyhub authority {}", &digest[..8]));
    terms.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    terms.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (terms.not_before, terms.not_after) = (now - CLOCK_SKEW, now + AUTHORITY);
    terms
}

fn certificate_terms(names: &[String], now: OffsetDateTime) -> Result<CertificateParams, String> {
    if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
        return Err(format!("{wrong:?} is neither a host name nor an address; correct its spelling"));
    }
    let mut terms = CertificateParams::new(names).map_err(|error| error.to_string())?;
    terms.distinguished_name = named("toyhub".into());
    terms.use_authority_key_identifier_extension = true;
    terms.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    terms.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (terms.not_before, terms.not_after) = (now - CLOCK_SKEW, now + CERTIFICATE);
    Ok(terms)
}

/// Whether it is a host name or an address.
fn is_name(name: &str) -> bool {
    ServerName::try_from(name).is_ok()
}

fn named(name: String) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The given names first, then those of this machine, each once.
fn all_names(given: &[String]) -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_lowercase();
    let of_host =
        if host.is_empty() || host == "localhost" { Vec::new() } else { vec![host.clone(), format!("{host}.local")] };
    let of_host = of_host.into_iter().filter(|name| is_name(name));
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let addresses = ["192.0.2.1:9", "[2001:db8::1]:9"].into_iter().filter_map(own_address);
    let addresses = addresses.map(|address| address.to_string());
    let mut names: Vec<String> = Vec::new();
    for name in given.iter().cloned().chain(of_host).chain(addresses).chain(own) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The local address from which this machine would reach `other`. Nothing is sent.
fn own_address(other: &str) -> Option<IpAddr> {
    let other: SocketAddr = other.parse().ok()?;
    let any = if other.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(other).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_unspecified())
}

/// Writes a file that only its owner may read, completely or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let fresh = path.with_extension("new");
    // A file left by an earlier run may be readable by others.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(fresh, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
        let output = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    #[test]
    fn the_authority_stays_and_openssl_accepts_its_certificates() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let at = NOW.to_string();
        let verify = |name: &str| {
            openssl(
                folder,
                &["verify", "-attime", &at, "-x509_strict", "-CAfile", "ca.pem", "-verify_hostname", name, "hub.pem"],
            )
        };
        let first = make(folder, &["toys.example".into(), "10.1.2.3".into()], NOW).unwrap();
        assert!(!first.is_known && first.names.starts_with(&["toys.example".into(), "10.1.2.3".into()]), "{first:?}");
        assert!(verify("toys.example").0, "{}", verify("toys.example").1);
        assert!(verify("localhost").0 && !verify("other.example").0);
        let text = openssl(folder, &["x509", "-in", "hub.pem", "-noout", "-text"]).1;
        for expected in ["IP Address:10.1.2.3", "IP Address:127.0.0.1", "TLS Web Server Authentication"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        let authority = std::fs::read(folder.join("ca.pem")).unwrap();
        let second = make(folder, &["other.example".into()], NOW + 86_400).unwrap();
        assert!(second.is_known && second.until > first.until);
        assert_eq!(std::fs::read(folder.join("ca.pem")).unwrap(), authority);
        assert!(verify("other.example").0, "{}", verify("other.example").1);
        for name in ["ca.pem", "ca.key", "hub.pem", "hub.key"] {
            assert_eq!(std::fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn files_of_another_maker_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hub.pem"), "of a public authority").unwrap();
        let error = make(folder.path(), &[], NOW).unwrap_err();
        assert!(error.contains("hub.pem") && error.contains("another folder"), "{error}");
        assert_eq!(std::fs::read(folder.path().join("hub.pem")).unwrap(), b"of a public authority");
        assert!(make(&folder.path().join("other"), &["bad name".into()], NOW).unwrap_err().contains("spelling"));
    }
}
