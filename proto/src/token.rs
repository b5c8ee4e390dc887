//! Tokens: who may do what, signed by the operator (Ed25519). A bearer token in the metadata `authorization` of every call.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::peer::Peer;
use crate::{RunId, Term};

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub role: Role,
    /// Seconds since 1970.
    pub expires: u64,
}

/// What its holder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// An executor of one run: works for it, puts and fetches its pieces.
    Executor { run: RunId },
    /// The agent of a node.
    Agent { node: String },
    /// The leader of a term: names, releases, asks for inventories, and fetches.
    Operator { term: Term },
}

/// Half of a key pair that checks tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Why a token is refused. Says nothing that helps to guess one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the call carries no token")]
    Missing,
    #[error("the token is not one of ours")]
    Forged,
    #[error("the token has expired")]
    Expired,
    /// Stolen, that is.
    #[error("the connection's certificate is not that of the token's holder")]
    OtherHolder,
}

/// A key could not be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 key in PKCS#8")]
pub struct BadKey;

/// Signs tokens.
#[derive(Debug)]
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl Signer {
    /// A new key pair, as PKCS#8 to be kept in a Secret.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn generate() -> Result<Vec<u8>, BadKey> {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| BadKey)?;
        Ok(pair.as_ref().to_vec())
    }

    /// A signer from PKCS#8.
    ///
    /// # Errors
    /// If it is no key.
    pub fn new(pkcs8: &[u8]) -> Result<Signer, BadKey> {
        Ok(Signer { pair: Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| BadKey)? })
    }

    /// The half that others get.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().to_vec())
    }

    /// A token.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let body = rmp_serde::to_vec_named(claims).expect("claims are plain data");
        let signature = self.pair.sign(&body);
        format!("{}.{}", BASE64.encode(&body), BASE64.encode(signature.as_ref()))
    }
}

/// The longest token: ours are a tenth of that.
const LONGEST: usize = 2048;

/// Checks a token; `now` in seconds since 1970.
///
/// # Errors
/// [`Refused`].
pub fn verify(token: &str, keys: &[PublicKey], now: u64) -> Result<Claims, Refused> {
    if token.len() > LONGEST {
        return Err(Refused::Forged);
    }
    let (body, signature) = token.split_once('.').ok_or(Refused::Forged)?;
    let body = BASE64.decode(body).map_err(|_| Refused::Forged)?;
    let signature = BASE64.decode(signature).map_err(|_| Refused::Forged)?;
    let signed = |key: &PublicKey| UnparsedPublicKey::new(&ED25519, &key.0).verify(&body, &signature).is_ok();
    if !keys.iter().any(signed) {
        return Err(Refused::Forged);
    }
    let claims: Claims = rmp_serde::from_slice(&body).map_err(|_| Refused::Forged)?;
    if claims.expires <= now { Err(Refused::Expired) } else { Ok(claims) }
}

/// The bearer token of a call.
///
/// # Errors
/// [`Refused::Missing`].
pub fn bearer(metadata: &MetadataMap) -> Result<&str, Refused> {
    let value = metadata.get("authorization").and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).ok_or(Refused::Missing)
}

/// What the token of a call says, if it is good and came over a connection of whom it names.
///
/// # Errors
/// [`Refused`].
pub fn check(metadata: &MetadataMap, peer: &Peer, keys: &[PublicKey], now: u64) -> Result<Claims, Refused> {
    let claims = verify(bearer(metadata)?, keys, now)?;
    if peer.may_be(&claims.role) { Ok(claims) } else { Err(Refused::OtherHolder) }
}

/// The metadata value for `authorization`, which is never shown; `None` for a text that no header can hold.
#[must_use]
pub fn authorization(token: &str) -> Option<MetadataValue<Ascii>> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.trim()).parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_with_what_carries_it() {
        let mut call = tonic::Request::new(());
        call.metadata_mut().insert("authorization", authorization("the-token").unwrap());
        assert_eq!(bearer(call.metadata()), Ok("the-token"));
        assert!(!format!("{call:?}").contains("the-token"));
        let enrolled = crate::master::Enrolled {
            certificate: String::new(),
            expires: 1,
            authority: String::new(),
            keys: Vec::new(),
            token: "the-token".to_owned(),
        };
        assert!(!format!("{enrolled:?}").contains("the-token"));
    }

    #[test]
    fn a_token_is_good_for_what_it_says_until_it_expires_and_only_if_signed() {
        let signer = Signer::new(&Signer::generate().unwrap()).unwrap();
        let other = Signer::new(&Signer::generate().unwrap()).unwrap();
        let run = RunId::try_from("abc-1".to_owned()).unwrap();
        let claims = Claims { role: Role::Executor { run }, expires: 100 };
        let token = signer.sign(&claims);
        let keys = [other.public_key(), signer.public_key()];
        assert_eq!(verify(&token, &keys, 99), Ok(claims));
        assert_eq!(verify(&token, &keys, 100), Err(Refused::Expired));
        assert_eq!(verify(&token, &keys[..1], 99), Err(Refused::Forged));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(verify(&String::from_utf8(bytes).unwrap(), &keys, 99).is_err(), "{at}");
        }
    }
}
