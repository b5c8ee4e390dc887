//! What a process is known by, and whom it knows: its certificate and the authority's. Both can change while it runs: whatever
//! connects or is connected to from then on uses the newest, and connections that are there go on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// HTTP/2, and nothing else.
const PROTOCOL: &[u8] = b"h2";

/// Papers, in PEM. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Papers {
    /// The authority's certificates: several while it changes.
    pub authority: String,
    /// The own certificate and its key; `None`: none yet, or nobody asks for one.
    pub own: Option<(String, String)>,
}

impl fmt::Debug for Papers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Papers").field("own", &self.own.is_some()).finish_non_exhaustive()
    }
}

/// Whom a server lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Only who shows a certificate of the authority.
    Members,
    /// Those without a certificate too (a bad one is never let in): some calls are made by whoever has none yet.
    Anybody,
}

/// Papers that are none.
#[derive(Debug, thiserror::Error)]
pub enum BadPapers {
    #[error("could not read {path:?}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the {0} is not PEM")]
    Pem(&'static str, #[source] rustls::pki_types::pem::Error),
    #[error("there is no certificate of the authority")]
    NoAuthority,
    #[error("the certificate and its key cannot be used")]
    Tls(#[from] rustls::Error),
    #[error("the authority cannot be used to know others by")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The newest papers, as connections need them.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    door: Door,
    current: RwLock<Current>,
}

struct Current {
    papers: Papers,
    client: Arc<ClientConfig>,
    /// `None`: without an own certificate nobody is served.
    server: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("door", &self.door).finish_non_exhaustive()
    }
}

impl Papers {
    /// From a folder as a run's Secret is mounted: `ca.crt`, `tls.crt`, `tls.key`.
    ///
    /// # Errors
    /// [`BadPapers::Read`].
    pub fn read(folder: &Path) -> Result<Papers, BadPapers> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|source| BadPapers::Read { path, source })
        };
        Ok(Papers { authority: read("ca.crt")?, own: Some((read("tls.crt")?, read("tls.key")?)) })
    }
}

impl Credentials {
    /// With these papers. `door`: for the server of this process, if it has one.
    ///
    /// # Errors
    /// [`BadPapers`].
    pub fn new(papers: Papers, door: Door) -> Result<Arc<Credentials>, BadPapers> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = RwLock::new(Current::new(papers, door, &provider)?);
        Ok(Arc::new(Credentials { provider, door, current }))
    }

    /// From the next connection on, these papers.
    ///
    /// # Errors
    /// [`BadPapers`]: then all stays as it was.
    pub fn change(&self, papers: Papers) -> Result<(), BadPapers> {
        if self.current.read().unwrap_or_else(PoisonError::into_inner).papers == papers {
            return Ok(());
        }
        let current = Current::new(papers, self.door, &self.provider)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// The same own certificate, with another authority to know others by.
    ///
    /// # Errors
    /// [`BadPapers`]: then all stays as it was.
    pub fn trust(&self, authority: &str) -> Result<(), BadPapers> {
        let own = self.current.read().unwrap_or_else(PoisonError::into_inner).papers.own.clone();
        self.change(Papers { authority: authority.to_owned(), own })
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).client)
    }

    pub(crate) fn server(&self) -> Option<Arc<ServerConfig>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).server.clone()
    }
}

impl Current {
    fn new(papers: Papers, door: Door, provider: &Arc<CryptoProvider>) -> Result<Current, BadPapers> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&papers.authority, "authority")? {
            roots.add(certificate)?;
        }
        if roots.is_empty() {
            return Err(BadPapers::NoAuthority);
        }
        let own = match &papers.own {
            None => None,
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| BadPapers::Pem("key", error))?;
                Some((certificates(chain, "certificate")?, key))
            }
        };
        let roots = Arc::new(roots);
        let server = match &own {
            None => None,
            Some((chain, key)) => Some(serving((chain.clone(), key.clone_key()), &roots, door, provider)?),
        };
        Ok(Current { papers, client: calling(own, roots, provider)?, server })
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn calling(own: Option<Own>, roots: Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, BadPapers> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&TLS13])?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Nothing of a session outlives its connection: a resumed one would not be asked for its certificate again.
fn serving(
    (chain, key): Own,
    roots: &Arc<RootCertStore>,
    door: Door,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, BadPapers> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider));
    let verifier = match door {
        Door::Members => verifier,
        Door::Anybody => verifier.allow_unauthenticated(),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&TLS13])?;
    let mut config = builder.with_client_cert_verifier(verifier.build()?).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, BadPapers> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|error| BadPapers::Pem(what, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn papers_that_are_none_are_refused_and_never_shown() {
        let none = |authority: &str| Credentials::new(Papers { authority: authority.to_owned(), own: None }, Door::Members);
        assert!(matches!(none(""), Err(BadPapers::NoAuthority)));
        assert!(none("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n").is_err());
        assert!(matches!(Papers::read(Path::new("/no/such/folder")), Err(BadPapers::Read { .. })));
        let papers = Papers { authority: "a".to_owned(), own: Some(("b".to_owned(), "the key".to_owned())) };
        assert!(!format!("{papers:?}").contains("key"));
    }
}
