//! The authority: makes and signs the certificates of operator, agents and executors, and their tokens. Kept in one Secret.
//!
//! It is replaced while flows run. For one lifetime of a certificate the next one is only told of, so that all who renew theirs
//! get to know it; for another it signs, and the old one is still known; then the old one goes:
//!
//! ```text
//! old   ═══════ signs ═══════╤═══ known ═══╗
//! next      told of ─────────┤════ signs ══╩══════════
//! ```
//!
//! How far this is follows from the certificates' own times, so that every operator sees the same.

mod issue;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::token::{PublicKey, Signer};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{Map, Value, json};

use self::issue::{SKEW, life};
use crate::naming;
use crate::server::{ApiError, Kind, Ref, Server};

pub use self::issue::{Issued, RunPapers};

/// Keys of the Secret: of the authority, and of the next one while there are two.
const NAMES: [Names; 2] = [
    Names { certificate: "ca.crt", key: "ca.key", signing: "signing.key" },
    Names { certificate: "next.crt", key: "next.key", signing: "next-signing.key" },
];

struct Names {
    certificate: &'static str,
    key: &'static str,
    signing: &'static str,
}

/// How long things are good, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lives {
    /// Certificates and tokens; renewed at two thirds of that.
    pub certificate: u64,
    /// The authority; replaced from two thirds of that on.
    pub authority: u64,
}

/// Something of the authority could not be made, kept or read.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("could not make a certificate")]
    Certificate(#[from] rcgen::Error),
    #[error("could not make or read the key that signs tokens")]
    Signing(#[from] proto::token::BadKey),
    #[error("the Secret gleamflow-authority lacks {0:?} or it is damaged")]
    Damaged(&'static str),
    #[error("could not keep or read the authority")]
    Api(#[from] ApiError),
    #[error("the request is not one that an agent makes: {0}")]
    Request(String),
}

/// The authority as its Secret has it: the one, and while it is replaced the next one too.
pub struct Authority {
    generations: Vec<Generation>,
    lives: Lives,
}

/// What is there of the authority.
#[derive(Debug)]
pub struct Founded {
    pub authority: Authority,
    /// Whether anything of it was not there before, and has no owner yet.
    pub anew: bool,
}

/// One key pair for certificates and one for tokens.
struct Generation {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    signer: Signer,
    /// Seconds since 1970.
    made: u64,
    /// As the Secret holds them, in the order of [`Names`].
    data: [Value; 3],
}

/// What the leader has to do about the authority's age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    None,
    /// Makes the next one.
    Begin,
    /// Lets the old one go.
    End,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("generations", &self.generations.len()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads it; `None`: the leader has not made it yet.
    ///
    /// # Errors
    /// If the API server does not answer, or the Secret is damaged.
    pub async fn find(server: &dyn Server, namespace: &str, lives: Lives) -> Result<Option<Authority>, AuthorityError> {
        match server.get(&place(namespace)).await {
            Ok(secret) => Authority::from_secret(&secret, lives).map(Some),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes it once, whoever else tries at the same time, and tells its certificates in a ConfigMap; either is made again where
    /// somebody deleted it. `held`: as this process has read it, which all that runs knows already. For the leader, again and again.
    ///
    /// # Errors
    /// As [`Authority::find`].
    pub async fn found(
        server: &dyn Server,
        namespace: &str,
        lives: Lives,
        (held, now): (Option<&Authority>, u64),
    ) -> Result<Founded, AuthorityError> {
        let (authority, made) = match Authority::find(server, namespace, lives).await? {
            Some(authority) => (authority, false),
            None => {
                let secret = match held {
                    Some(held) => held.secret(namespace),
                    None => Authority::new(lives, now)?.secret(namespace),
                };
                match server.create(Kind::Secret, namespace, &secret).await {
                    Ok(secret) => (Authority::from_secret(&secret, lives)?, true),
                    Err(ApiError::AlreadyExists(_)) => {
                        let there = Authority::find(server, namespace, lives).await?;
                        (there.ok_or(AuthorityError::Damaged(NAMES[0].certificate))?, false)
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let told = authority.tell(server, namespace).await?;
        Ok(Founded { authority, anew: made || told })
    }

    /// Does what its age asks for; `None`: nothing. For the leader, again and again.
    ///
    /// # Errors
    /// As [`Authority::find`].
    pub async fn tend(self, server: &dyn Server, namespace: &str, now: u64) -> Result<Option<Authority>, AuthorityError> {
        let lives = self.lives;
        let mut generations = self.generations;
        match step(&generations.iter().map(|generation| generation.made).collect::<Vec<_>>(), lives, now) {
            Step::None => return Ok(None),
            Step::Begin => generations.push(Generation::make(lives, now)?),
            Step::End => drop(generations.remove(0)),
        }
        let authority = Authority { generations, lives };
        server.apply(&place(namespace), false, &authority.secret(namespace)).await?;
        authority.tell(server, namespace).await?;
        tracing::info!(generations = authority.generations.len(), "the authority is being replaced");
        Ok(Some(authority))
    }

    /// Tells its certificates to whoever may read the ConfigMap: agents, executors' Secrets and the command line know it by them.
    /// Whether there was none.
    async fn tell(&self, server: &dyn Server, namespace: &str) -> Result<bool, AuthorityError> {
        let mut told = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": naming::AUTHORITY_CERTIFICATE, "namespace": namespace, "labels": {naming::MANAGED_BY: naming::MANAGER}},
            "data": {NAMES[0].certificate: self.bundle()},
        });
        let place = Ref::new(Kind::ConfigMap, namespace, naming::AUTHORITY_CERTIFICATE);
        let before = match server.get(&place).await {
            Ok(before) if before.get("data") == told.get("data") => return Ok(false),
            Ok(before) => Some(before),
            Err(ApiError::NotFound(_)) => None,
            Err(error) => return Err(error.into()),
        };
        // What is applied anew still goes with whom it went with.
        if let Some(owners) = before.as_ref().and_then(|before| before.pointer("/metadata/ownerReferences")) {
            told["metadata"]["ownerReferences"] = owners.clone();
        }
        server.apply(&place, false, &told).await?;
        Ok(before.is_none())
    }

    /// A new one, which is kept nowhere yet.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn new(lives: Lives, now: u64) -> Result<Authority, AuthorityError> {
        Ok(Authority { generations: vec![Generation::make(lives, now)?], lives })
    }

    /// As its Secret has it.
    ///
    /// # Errors
    /// If something is missing or damaged.
    pub fn from_secret(secret: &Value, lives: Lives) -> Result<Authority, AuthorityError> {
        let data = secret.get("data").and_then(Value::as_object).ok_or(AuthorityError::Damaged(NAMES[0].certificate))?;
        let mut generations = vec![Generation::read(data, &NAMES[0])?];
        if data.contains_key(NAMES[1].certificate) {
            generations.push(Generation::read(data, &NAMES[1])?);
        }
        Ok(Authority { generations, lives })
    }

    /// Its Secret.
    #[must_use]
    pub fn secret(&self, namespace: &str) -> Value {
        let parts = self.generations.iter().zip(&NAMES).flat_map(|(generation, names)| {
            [names.certificate, names.key, names.signing].into_iter().map(str::to_owned).zip(generation.data.clone())
        });
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": naming::AUTHORITY, "namespace": namespace, "labels": {naming::MANAGED_BY: naming::MANAGER}},
            "data": parts.collect::<Map<String, Value>>(),
        })
    }

    /// Its certificates, PEM: whom all are to know.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.generations.iter().map(|generation| generation.certificate.as_str()).collect()
    }

    /// What checks its tokens.
    #[must_use]
    pub fn keys(&self) -> Vec<PublicKey> {
        self.generations.iter().map(|generation| generation.signer.public_key()).collect()
    }

    /// How long things are good.
    #[must_use]
    pub fn lives(&self) -> Lives {
        self.lives
    }

    /// The one that signs: the next one does once all know it.
    fn signing(&self, now: u64) -> &Generation {
        let known = |generation: &&Generation| generation.made + self.lives.certificate <= now;
        let first = self.generations.first().expect("there is always one");
        self.generations.iter().skip(1).rfind(known).unwrap_or(first)
    }
}

fn place(namespace: &str) -> Ref {
    Ref::new(Kind::Secret, namespace, naming::AUTHORITY)
}

/// `made`: when the one was made, and the next one if there is one.
fn step(made: &[u64], lives: Lives, now: u64) -> Step {
    match made {
        [one] if *one + lives.authority / 3 * 2 <= now => Step::Begin,
        [_, next] if *next + 2 * lives.certificate <= now => Step::End,
        _ => Step::None,
    }
}

impl Generation {
    fn make(lives: Lives, now: u64) -> Result<Generation, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        // The name tells one generation from another.
        params.distinguished_name.push(DnType::CommonName, format!("gleamflow authority {now}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        life(&mut params, now, lives.authority);
        let certificate = params.self_signed(&key)?.pem();
        let parts = [certificate.into_bytes(), key.serialize_pem().into_bytes(), Signer::generate()?];
        let data = parts.map(|part| Value::from(BASE64.encode(part)));
        let names = [NAMES[0].certificate, NAMES[0].key, NAMES[0].signing].map(str::to_owned);
        Generation::read(&names.into_iter().zip(data).collect(), &NAMES[0])
    }

    fn read(data: &Map<String, Value>, names: &Names) -> Result<Generation, AuthorityError> {
        let part = |name: &'static str| data.get(name).cloned().ok_or(AuthorityError::Damaged(name));
        let bytes = |name: &'static str| {
            let text = data.get(name).and_then(Value::as_str);
            text.and_then(|text| BASE64.decode(text).ok()).ok_or(AuthorityError::Damaged(name))
        };
        let text = |name| String::from_utf8(bytes(name)?).map_err(|_| AuthorityError::Damaged(name));
        let certificate = text(names.certificate)?;
        let made = made(&certificate).ok_or(AuthorityError::Damaged(names.certificate))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&text(names.key)?)?)?;
        let signer = Signer::new(&bytes(names.signing)?)?;
        let data = [part(names.certificate)?, part(names.key)?, part(names.signing)?];
        Ok(Generation { certificate, issuer, signer, made, data })
    }
}

/// When a certificate of the authority was made, by its own word.
fn made(certificate: &str) -> Option<u64> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).ok()?;
    let from = pem.parse_x509().ok()?.validity().not_before.timestamp();
    Some(u64::try_from(from).ok()? + SKEW)
}
