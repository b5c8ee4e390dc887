//! Service-account tokens checked against the cluster's published keys, where the operator may not ask for reviews (namespaced rights).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;

use crate::view::{list, text};

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bearer {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub(super) subject: String,
    pub(super) pod: String,
    pub(super) pod_uid: String,
}

/// Checks a token's signature, time and audience. `keys`: a JSON web key set; `now` in seconds since 1970.
pub(super) fn verify(token: &str, keys: &Value, audience: &str, now: i64) -> Result<Bearer, String> {
    let mut parts = token.trim().splitn(3, '.');
    let (Some(header), Some(body), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it is not a token of a service account".to_owned());
    };
    let signed = format!("{header}.{body}");
    let header = json(header)?;
    let signature = BASE64.decode(signature).map_err(|_| "its signature is not readable".to_owned())?;
    let wanted = |key: &&Value| text(key, "/kid") == text(&header, "/kid");
    let key = list(keys, "/keys").iter().find(wanted).ok_or("the cluster has no key of that name")?;
    if !is_signed(text(&header, "/alg").unwrap_or_default(), key, signed.as_bytes(), &signature) {
        return Err("its signature is not the cluster's".to_owned());
    }
    let claims = json(body)?;
    let time = |name: &str| claims.get(name).and_then(Value::as_i64);
    if time("exp").is_none_or(|expires| expires <= now) || time("nbf").is_some_and(|from| from > now + 60) {
        return Err("it has expired".to_owned());
    }
    let meant = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|one| one == audience),
        Some(one) => one == audience,
        None => false,
    };
    if !meant {
        return Err(format!("it was not made for {audience:?}"));
    }
    let part = |pointer: &str, what: &str| text(&claims, pointer).map(str::to_owned).ok_or_else(|| format!("it names no {what}"));
    Ok(Bearer {
        subject: part("/sub", "subject")?,
        pod: part("/kubernetes.io/pod/name", "pod")?,
        pod_uid: part("/kubernetes.io/pod/uid", "pod")?,
    })
}

fn json(part: &str) -> Result<Value, String> {
    let bytes = BASE64.decode(part).map_err(|_| "it is not readable".to_owned())?;
    serde_json::from_slice(&bytes).map_err(|_| "it is not readable".to_owned())
}

/// By the two algorithms that API servers sign with, each only with a key of its own kind.
fn is_signed(algorithm: &str, key: &Value, message: &[u8], signature: &[u8]) -> bool {
    let part = |name: &str| key.get(name).and_then(Value::as_str).and_then(|part| BASE64.decode(part).ok());
    match (algorithm, text(key, "/kty")) {
        ("RS256", Some("RSA")) => match (part("n"), part("e")) {
            (Some(n), Some(e)) => RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok(),
            _ => false,
        },
        ("ES256", Some("EC")) if text(key, "/crv") == Some("P-256") => match (part("x"), part("y")) {
            (Some(x), Some(y)) => {
                let point: Vec<u8> = [&[4][..], &x, &y].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    fn key_pair() -> EcdsaKeyPair {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap()
    }

    fn keys(pair: &EcdsaKeyPair) -> Value {
        let point = pair.public_key().as_ref();
        json!({"keys": [{"kid": "k", "kty": "EC", "crv": "P-256", "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..])}]})
    }

    fn token(pair: &EcdsaKeyPair, claims: &Value) -> String {
        let header = BASE64.encode(json!({"alg": "ES256", "kid": "k"}).to_string());
        let signed = format!("{header}.{}", BASE64.encode(claims.to_string()));
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64.encode(signature.as_ref()))
    }

    #[test]
    fn a_token_is_believed_only_if_the_cluster_signed_it_for_us_and_it_is_still_good() {
        let (pair, other) = (key_pair(), key_pair());
        let claims = |audience: &str| {
            json!({"sub": "system:serviceaccount:g:gleamflow-agent", "aud": [audience], "exp": 100,
            "kubernetes.io": {"pod": {"name": "p", "uid": "u"}}})
        };
        let good = token(&pair, &claims("gleamflow"));
        assert_eq!(verify(&good, &keys(&pair), "gleamflow", 99).unwrap().pod, "p");
        assert!(verify(&good, &keys(&pair), "gleamflow", 100).unwrap_err().contains("expired"));
        assert!(verify(&good, &keys(&other), "gleamflow", 99).unwrap_err().contains("signature"));
        assert!(verify(&token(&pair, &claims("kubernetes")), &keys(&pair), "gleamflow", 99).unwrap_err().contains("made for"));
        let unsigned = good.replacen(
            &BASE64.encode(json!({"alg": "ES256", "kid": "k"}).to_string()),
            &BASE64.encode(json!({"alg": "none", "kid": "k"}).to_string()),
            1,
        );
        assert!(verify(&unsigned, &keys(&pair), "gleamflow", 99).is_err());
    }
}
