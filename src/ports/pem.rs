//! Certificates from PEM files.

use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{Error, PemObject as _};

/// All certificates of a file, at least one. Errors describe the fault in one line.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err("there is no certificate in it".into()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(cause(error)),
    }
}

/// The error as one line of text; its own text contains bytes.
pub fn cause(error: Error) -> String {
    match error {
        Error::Io(error) => format!("cannot be read ({error})"),
        Error::NoItemsFound => "holds no such item".into(),
        _ => "is not PEM".into(),
    }
}
