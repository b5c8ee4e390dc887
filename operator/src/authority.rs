//! The authority: makes and signs the certificates of operator and agents, and the tokens of executors. Kept in one Secret.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::token::{Claims, Role, Signer};
use proto::{RunId, Term};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};

use crate::naming;
use crate::server::{ApiError, Kind, Ref, Server};

/// How long the authority is good, in seconds.
const AUTHORITY_LIFE: u64 = 10 * 365 * 86_400;
/// How long a certificate of the operator is good; its process ends at two thirds of that, and its successor makes a new one.
pub const SERVER_LIFE: u64 = 30 * 86_400;
/// How long an agent's certificate and token are good; it asks again at two thirds of that.
pub const AGENT_LIFE: u64 = 86_400;
/// How long the tokens are good that the operator signs for its own calls.
const OPERATOR_TOKEN: u64 = 300;
/// Clocks differ: certificates are good from a little before they are made.
const SKEW: u64 = 300;

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const SIGNING_KEY: &str = "signing.key";

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

/// The authority.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    signer: Signer,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate and when it ends.
#[derive(Clone, Debug)]
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM; empty where its owner made the key.
    pub key: String,
    /// Seconds since 1970.
    pub expires: u64,
}

impl Authority {
    /// Reads it; `None`: the leader has not made it yet.
    ///
    /// # Errors
    /// If the API server does not answer, or the Secret is damaged.
    pub async fn find(server: &dyn Server, namespace: &str) -> Result<Option<Authority>, AuthorityError> {
        match server.get(&Ref::new(Kind::Secret, namespace, naming::AUTHORITY)).await {
            Ok(secret) => Authority::read(&secret).map(Some),
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes it once, whoever else tries at the same time, and tells its certificate in a ConfigMap. For the leader.
    ///
    /// # Errors
    /// As [`Authority::find`].
    pub async fn found(server: &dyn Server, namespace: &str, now: u64) -> Result<Authority, AuthorityError> {
        let authority = match Authority::find(server, namespace).await? {
            Some(authority) => authority,
            None => match server.create(Kind::Secret, namespace, &make(namespace, now)?).await {
                Ok(secret) => Authority::read(&secret)?,
                Err(ApiError::AlreadyExists(_)) => {
                    Authority::find(server, namespace).await?.ok_or(AuthorityError::Damaged(CERTIFICATE))?
                }
                Err(error) => return Err(error.into()),
            },
        };
        let told = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": naming::AUTHORITY_CERTIFICATE, "namespace": namespace, "labels": {naming::MANAGED_BY: naming::MANAGER}},
            "data": {CERTIFICATE: authority.certificate},
        });
        let place = Ref::new(Kind::ConfigMap, namespace, naming::AUTHORITY_CERTIFICATE);
        let told = keep_owner(server, &place, told).await?;
        server.apply(&place, false, &told).await?;
        Ok(authority)
    }

    fn read(secret: &Value) -> Result<Authority, AuthorityError> {
        let bytes = |key: &'static str| {
            let text = secret.get("data").and_then(|data| data.get(key)).and_then(Value::as_str);
            text.and_then(|text| BASE64.decode(text).ok()).ok_or(AuthorityError::Damaged(key))
        };
        let text = |key| String::from_utf8(bytes(key)?).map_err(|_| AuthorityError::Damaged(key));
        let certificate = text(CERTIFICATE)?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&text(KEY)?)?)?;
        Ok(Authority { certificate, issuer, signer: Signer::new(&bytes(SIGNING_KEY)?)? })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What checks its tokens.
    #[must_use]
    pub fn keys(&self) -> Vec<proto::token::PublicKey> {
        vec![self.signer.public_key()]
    }

    /// A certificate for a server of the operator.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn server(&self, address: IpAddr, now: u64) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate()?;
        let params = leaf(naming::OPERATOR, &[address], now, SERVER_LIFE)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), expires: now + SERVER_LIFE })
    }

    /// A certificate for an agent that asks for one. Only its key is taken from the request: what it says about itself is not.
    ///
    /// # Errors
    /// If the request is none.
    pub fn agent(&self, request: &str, node: &str, address: IpAddr, now: u64) -> Result<Issued, AuthorityError> {
        let asked =
            CertificateSigningRequestParams::from_pem(request).map_err(|error| AuthorityError::Request(error.to_string()))?;
        let params = leaf(&format!("{}:{node}", naming::AGENT), &[address], now, AGENT_LIFE)?;
        let certificate = CertificateSigningRequestParams { params, public_key: asked.public_key }.signed_by(&self.issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: String::new(), expires: now + AGENT_LIFE })
    }

    /// A token for the executors of a run.
    #[must_use]
    pub fn executor_token(&self, run: &RunId, expires: u64) -> String {
        self.signer.sign(&Claims { role: Role::Executor { run: run.clone() }, expires })
    }

    /// A token for the agent of a node.
    #[must_use]
    pub fn agent_token(&self, node: &str, expires: u64) -> String {
        self.signer.sign(&Claims { role: Role::Agent { node: node.to_owned() }, expires })
    }

    /// A token for calls of the leader to agents.
    #[must_use]
    pub fn operator_token(&self, term: Term, now: u64) -> String {
        self.signer.sign(&Claims { role: Role::Operator { term }, expires: now + OPERATOR_TOKEN })
    }
}

/// What is applied anew still goes with whom it went with.
async fn keep_owner(server: &dyn Server, place: &Ref, mut told: Value) -> Result<Value, AuthorityError> {
    match server.get(place).await {
        Ok(old) => {
            if let Some(owners) = old.pointer("/metadata/ownerReferences") {
                told["metadata"]["ownerReferences"] = owners.clone();
            }
            Ok(told)
        }
        Err(ApiError::NotFound(_)) => Ok(told),
        Err(error) => Err(error.into()),
    }
}

/// The Secret of a new authority.
fn make(namespace: &str, now: u64) -> Result<Value, AuthorityError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name.push(DnType::CommonName, "gleamflow authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    life(&mut params, now, AUTHORITY_LIFE);
    let certificate = params.self_signed(&key)?;
    let signing = Signer::generate()?;
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": naming::AUTHORITY, "namespace": namespace, "labels": {naming::MANAGED_BY: naming::MANAGER}},
        "data": {
            CERTIFICATE: BASE64.encode(certificate.pem()), KEY: BASE64.encode(key.serialize_pem()),
            SIGNING_KEY: BASE64.encode(signing),
        },
    }))
}

fn leaf(name: &str, addresses: &[IpAddr], now: u64, seconds: u64) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(vec![proto::transport::SERVER_NAME.to_owned()])?;
    params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    life(&mut params, now, seconds);
    Ok(params)
}

fn life(params: &mut CertificateParams, now: u64, seconds: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(SKEW));
    params.not_after = epoch + Duration::from_secs(now + seconds);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_gets_a_certificate_for_its_key_and_nothing_else_that_it_asked_for() {
        let now = 1_800_000_000;
        let authority = Authority::read(&make("ns", now).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut asks = CertificateParams::new(vec!["kubernetes.default".to_owned()]).unwrap();
        asks.distinguished_name.push(DnType::CommonName, "admin");
        let request = asks.serialize_request(&key).unwrap().pem().unwrap();
        let issued = authority.agent(&request, "node-1", "10.0.0.7".parse().unwrap(), now).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.certificate.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=gleamflow-agent:node-1");
        let names = certificate.subject_alternative_name().unwrap().unwrap().value.general_names.len();
        assert_eq!(names, 2, "the service's name and the address");
        assert!(!certificate.is_ca());
        assert_eq!(certificate.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
        assert!(authority.agent("nonsense", "n", "10.0.0.7".parse().unwrap(), now).is_err());
    }

    #[test]
    fn tokens_are_checked_with_the_authoritys_key() {
        let authority = Authority::read(&make("ns", 0).unwrap()).unwrap();
        let run = RunId::try_from("abc-1".to_owned()).unwrap();
        let token = authority.executor_token(&run, 100);
        let claims = proto::token::verify(&token, &authority.keys(), 99).unwrap();
        assert_eq!(claims.role, Role::Executor { run });
    }
}
