//! TLS on a public port: certificate and key from files, checked before any port opens.
//!
//! `rustls` with `aws-lc-rs`, both of which the workspace has anyway: no system library, nothing to build that
//! is not built already. TLS 1.2 and 1.3 with rustls' own choice of ciphers; ALPN offers `http/1.1` alone.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read, or holds something else.
    #[error("cannot read {what} from {}: {cause}; it must be a PEM file", path.display())]
    Unreadable {
        what: &'static str,
        path: PathBuf,
        cause: pem::Error,
    },
    /// The file is PEM, but holds no certificate.
    #[error("{} holds no certificate", path.display())]
    Empty { path: PathBuf },
    /// The certificate's time is over or has not come.
    #[error("the certificate in {} {problem}; get a new one, or check the clock of this machine", path.display())]
    Time {
        path: PathBuf,
        problem: &'static str,
    },
    /// The two do not belong together, or one of them is of a kind that cannot be used.
    #[error("cannot use {} with {}: {cause}; both must be of one pair", certificate.display(), key.display())]
    Unusable {
        certificate: PathBuf,
        key: PathBuf,
        cause: rustls::Error,
    },
}

/// Reads a chain, the server's own certificate first, and its key.
pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unreadable = |what, path: &Path| {
        let path = path.to_owned();
        move |cause| TlsError::Unreadable { what, path, cause }
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(unreadable("the certificate", certificate))?;
    let own = chain.first().ok_or_else(|| TlsError::Empty {
        path: certificate.to_owned(),
    })?;
    if let Some(problem) = problem_of_time(own) {
        return Err(TlsError::Time {
            path: certificate.to_owned(),
            problem,
        });
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(unreadable("the key", key))?;

    let unusable = |cause| TlsError::Unusable {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        cause,
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What is wrong with a certificate's period. Whom it names and who signed it is for clients to judge, so a
/// check against no authority at all is enough: it looks at the period first.
fn problem_of_time(certificate: &CertificateDer<'_>) -> Option<&'static str> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let usage = KeyUsage::server_auth();
    match parsed.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &[],
        &[],
        UnixTime::now(),
        usage,
        None,
        None,
    ) {
        Err(webpki::Error::CertExpired { .. }) => Some("has expired"),
        Err(webpki::Error::CertNotValidYet { .. }) => Some("is not valid yet"),
        _ => None,
    }
}
