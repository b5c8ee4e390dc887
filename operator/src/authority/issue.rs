//! What the authority gives: certificates that name their holders, and tokens.

use std::net::IpAddr;
use std::time::Duration;

use proto::peer::Member;
use proto::token::{Claims, Role};
use proto::transport::Serves;
use proto::{RunId, Term};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
};

use super::{Authority, AuthorityError};
use crate::naming;

/// How long the tokens are good that the operator signs for its own calls.
const OPERATOR_TOKEN: u64 = 300;
/// Clocks differ: certificates are good from a little before they are made.
pub(super) const SKEW: u64 = 300;

/// A certificate and when it ends.
#[derive(Clone)]
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// PEM; empty where its owner made the key.
    pub key: String,
    /// Seconds since 1970.
    pub expires: u64,
}

/// What a run's Secret holds for its executors.
#[derive(Clone)]
pub struct RunPapers {
    pub token: String,
    /// PEM.
    pub authority: String,
    pub certificate: String,
    pub key: String,
    /// Seconds since 1970: new ones are due.
    pub renew: i64,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RunPapers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunPapers").field("renew", &self.renew).finish_non_exhaustive()
    }
}

impl Authority {
    /// A certificate for an operator, which serves executors and agents, and calls agents.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn operator(&self, address: IpAddr, now: u64) -> Result<Issued, AuthorityError> {
        let params = self.leaf(&Member::Operator, now)?;
        self.issue(serving(params, Serves::Operator, naming::OPERATOR, address)?, now)
    }

    /// A certificate for an agent that asks for one. Only its key is taken from the request: what it says about itself is not.
    ///
    /// # Errors
    /// If the request is none.
    pub fn agent(&self, request: &str, node: &str, address: IpAddr, now: u64) -> Result<Issued, AuthorityError> {
        let asked =
            CertificateSigningRequestParams::from_pem(request).map_err(|error| AuthorityError::Request(error.to_string()))?;
        let params = self.leaf(&Member::Agent { node: node.to_owned() }, now)?;
        let params = serving(params, Serves::Agent, naming::AGENT, address)?;
        let request = CertificateSigningRequestParams { params, public_key: asked.public_key };
        let certificate = request.signed_by(&self.signing(now).issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: String::new(), expires: now + self.lives.certificate })
    }

    /// What the executors of a run are known by: a certificate that serves nobody, and a token.
    ///
    /// # Errors
    /// If the certificate cannot be made.
    pub fn executors(&self, run: &RunId, now: u64) -> Result<RunPapers, AuthorityError> {
        let mut params = self.leaf(&Member::Executor { run: run.clone() }, now)?;
        params.distinguished_name.push(DnType::CommonName, "gleamflow-executor");
        let Issued { certificate, key, expires } = self.issue(params, now)?;
        let renew = i64::try_from(now + self.lives.certificate / 3 * 2).unwrap_or(i64::MAX);
        Ok(RunPapers { token: self.executor_token(run, expires, now), authority: self.bundle(), certificate, key, renew })
    }

    /// A token for the executors of a run.
    #[must_use]
    pub fn executor_token(&self, run: &RunId, expires: u64, now: u64) -> String {
        self.signing(now).signer.sign(&Claims { role: Role::Executor { run: run.clone() }, expires })
    }

    /// A token for the agent of a node.
    #[must_use]
    pub fn agent_token(&self, node: &str, expires: u64, now: u64) -> String {
        self.signing(now).signer.sign(&Claims { role: Role::Agent { node: node.to_owned() }, expires })
    }

    /// A token for calls of the leader to agents.
    #[must_use]
    pub fn operator_token(&self, term: Term, now: u64) -> String {
        self.signing(now).signer.sign(&Claims { role: Role::Operator { term }, expires: now + OPERATOR_TOKEN })
    }

    fn issue(&self, params: CertificateParams, now: u64) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.signing(now).issuer)?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem(), expires: now + self.lives.certificate })
    }

    /// A certificate that names a member, by which others know it when it calls.
    fn leaf(&self, member: &Member, now: u64) -> Result<CertificateParams, AuthorityError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.subject_alt_names.push(SanType::URI(member.to_string().try_into()?));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        life(&mut params, now, self.lives.certificate);
        Ok(params)
    }
}

/// And by which others know it when they call it.
fn serving(
    mut params: CertificateParams,
    serves: Serves,
    name: &str,
    address: IpAddr,
) -> Result<CertificateParams, AuthorityError> {
    params.subject_alt_names.push(SanType::DnsName(serves.name().try_into()?));
    params.subject_alt_names.push(SanType::IpAddress(address));
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

pub(super) fn life(params: &mut CertificateParams, now: u64, seconds: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(SKEW));
    params.not_after = epoch + Duration::from_secs(now + seconds);
}
