//! The agent's certificate: asks the operator for one with a key that never leaves the process.

use std::fmt;
use std::net::IpAddr;

use proto::credentials::Papers;
use proto::master::Enrolled;
use proto::transport::Serves;
use rcgen::{CertificateParams, KeyPair, SanType};

/// What went wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("could not make a key or a signing request")]
    Request(#[source] rcgen::Error),
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
    /// For the name that all agents have and an address of its own.
    ///
    /// # Errors
    /// [`IdentityError::Request`].
    pub fn new(address: IpAddr) -> Result<Request, IdentityError> {
        let key = KeyPair::generate().map_err(IdentityError::Request)?;
        let mut params = CertificateParams::new(vec![Serves::Agent.name().to_owned()]).map_err(IdentityError::Request)?;
        params.subject_alt_names.push(SanType::IpAddress(address));
        let csr = params.serialize_request(&key).and_then(|csr| csr.pem()).map_err(IdentityError::Request)?;
        Ok(Request { key, csr })
    }

    /// What came of it.
    #[must_use]
    pub fn papers(self, enrolled: &Enrolled) -> Papers {
        let own = Some((enrolled.certificate.clone(), self.key.serialize_pem()));
        Papers { authority: enrolled.authority.clone(), own }
    }
}
