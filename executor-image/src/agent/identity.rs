//! The agent's certificate: asks the operator for one and serves with it. A newer one takes its place without a connection
//! being dropped.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use proto::master::Enrolled;
use proto::transport::SERVER_NAME;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What went wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("could not make a key or a signing request")]
    Request(#[source] rcgen::Error),
    #[error("the operator's answer holds no certificate")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    #[error("the certificate is not of the key that it was asked for")]
    Key(#[source] rustls::Error),
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
}

/// A new key, and what asks for its certificate.
pub struct Request {
    key: KeyPair,
    /// PEM.
    pub csr: String,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("csr", &self.csr).finish_non_exhaustive()
    }
}

impl Request {
    /// For the name that all of us have and an address of its own.
    ///
    /// # Errors
    /// [`IdentityError::Request`].
    pub fn new(address: IpAddr) -> Result<Request, IdentityError> {
        let key = KeyPair::generate().map_err(IdentityError::Request)?;
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).map_err(IdentityError::Request)?;
        params.subject_alt_names.push(SanType::IpAddress(address));
        let csr = params.serialize_request(&key).and_then(|csr| csr.pem()).map_err(IdentityError::Request)?;
        Ok(Request { key, csr })
    }

    /// The certificate that came of it, with its key.
    fn certified(self, enrolled: &Enrolled, provider: &CryptoProvider) -> Result<CertifiedKey, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(enrolled.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(IdentityError::Certificate)?;
        if chain.is_empty() {
            return Err(IdentityError::Certificate(rustls::pki_types::pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(IdentityError::Key)?;
        certified.keys_match().map_err(IdentityError::Key)?;
        Ok(certified)
    }
}

/// The certificate that new connections are served with.
#[derive(Debug)]
pub struct Identity {
    provider: Arc<CryptoProvider>,
    current: RwLock<Option<Arc<CertifiedKey>>>,
}

impl Identity {
    /// None yet.
    #[must_use]
    pub fn new() -> Arc<Identity> {
        Arc::new(Identity { provider: Arc::new(aws_lc_rs::default_provider()), current: RwLock::default() })
    }

    /// From the next connection on, this one.
    ///
    /// # Errors
    /// If the operator's answer does not fit what it was asked.
    pub fn set(&self, request: Request, enrolled: &Enrolled) -> Result<(), IdentityError> {
        let certified = request.certified(enrolled, &self.provider)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
        Ok(())
    }

    /// Server settings that always use the current certificate.
    ///
    /// # Errors
    /// [`IdentityError::Tls`].
    pub fn config(self: &Arc<Identity>) -> Result<Arc<ServerConfig>, IdentityError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions();
        let resolver: Arc<dyn ResolvesServerCert> = Arc::clone(self) as Arc<dyn ResolvesServerCert>;
        let mut config = builder.map_err(IdentityError::Tls)?.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
