//! What the authority gives, and how it is replaced.

use std::sync::Arc;

use proto::RunId;
use proto::credentials::{Credentials, Door, Papers};
use proto::peer::Member;
use proto::token::{Role, verify};
use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;

const LIVES: Lives = Lives { certificate: 100, authority: 1200 };

fn member(certificate: &str) -> Option<Member> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).unwrap();
    Member::of_certificate(&pem.contents)
}

fn run() -> RunId {
    RunId::try_from("abc-1".to_owned()).unwrap()
}

#[test]
fn an_agent_gets_a_certificate_for_its_key_and_nothing_else_that_it_asked_for() {
    let now = 1_800_000_000;
    let authority = Authority::new(LIVES, now).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut asks = CertificateParams::new(vec!["operator.gleamflow".to_owned()]).unwrap();
    asks.distinguished_name.push(DnType::CommonName, "admin");
    let request = asks.serialize_request(&key).unwrap().pem().unwrap();
    let issued = authority.agent(&request, "node-1", "10.0.0.7".parse().unwrap(), now).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(issued.certificate.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    assert_eq!(certificate.subject().to_string(), "CN=gleamflow-agent");
    let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert_eq!(names.len(), 3, "the member, what it serves, the address: {names:?}");
    assert_eq!(member(&issued.certificate), Some(Member::Agent { node: "node-1".to_owned() }));
    assert!(!format!("{names:?}").contains("operator"));
    assert!(!certificate.is_ca());
    assert_eq!(certificate.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    assert!(authority.agent("nonsense", "n", "10.0.0.7".parse().unwrap(), now).is_err());
}

#[test]
fn a_run_gets_a_certificate_that_serves_nobody_and_a_token_for_as_long() {
    let now = 1_800_000_000;
    let authority = Authority::new(LIVES, now).unwrap();
    let papers = authority.executors(&run(), now).unwrap();
    assert_eq!(member(&papers.certificate), Some(Member::Executor { run: run() }));
    let (_, pem) = x509_parser::pem::parse_x509_pem(papers.certificate.as_bytes()).unwrap();
    let certificate = pem.parse_x509().unwrap();
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    let claims = verify(&papers.token, &authority.keys(), now + 99).unwrap();
    assert_eq!(claims.role, Role::Executor { run: run() });
    assert!(verify(&papers.token, &authority.keys(), now + 100).is_err());
    assert!((papers.renew - 1_800_000_000) < 100);
    let papers = Papers { authority: papers.authority, own: Some((papers.certificate, papers.key)) };
    let credentials: Arc<Credentials> = Credentials::new(papers, Door::Members).unwrap();
    drop(credentials);
}

#[test]
fn the_authority_comes_back_from_its_secret_as_it_was() {
    let now = 1_800_000_000;
    let mut authority = Authority::new(LIVES, now).unwrap();
    authority.generations.push(Generation::make(LIVES, now + 50).unwrap());
    let read = Authority::from_secret(&authority.secret("ns"), LIVES).unwrap();
    assert_eq!((read.bundle(), read.keys()), (authority.bundle(), authority.keys()));
    assert_eq!(read.generations.iter().map(|one| one.made).collect::<Vec<_>>(), [now, now + 50]);
    assert!(matches!(
        Authority::from_secret(&json!({"data": {"ca.crt": "AA=="}}), LIVES),
        Err(AuthorityError::Damaged("ca.crt"))
    ));
}

#[test]
fn a_new_authority_signs_only_once_all_know_it_and_the_old_one_goes_only_once_nothing_of_it_is_left() {
    let begin = 1_800_000_000;
    assert_eq!(step(&[begin], LIVES, begin + 799), Step::None);
    assert_eq!(step(&[begin], LIVES, begin + 800), Step::Begin);
    let told = begin + 800;
    assert_eq!(step(&[begin, told], LIVES, told + 199), Step::None);
    assert_eq!(step(&[begin, told], LIVES, told + 200), Step::End);
    let mut authority = Authority::new(LIVES, begin).unwrap();
    authority.generations.push(Generation::make(LIVES, told).unwrap());
    let keys = authority.keys();
    let signed_by = |now: u64, key: usize| {
        let token = authority.executor_token(&run(), now + 1, now);
        verify(&token, &keys[key..=key], now).is_ok()
    };
    assert!(signed_by(told, 0) && signed_by(told + 99, 0));
    assert!(signed_by(told + 100, 1), "all have renewed theirs since, and know it");
    assert_eq!(authority.bundle().matches("BEGIN CERTIFICATE").count(), 2);
}

/// An API server that keeps objects by their names.
#[derive(Debug, Default)]
struct Keeps(std::sync::Mutex<std::collections::BTreeMap<Ref, Value>>);

impl Keeps {
    fn objects(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<Ref, Value>> {
        self.0.lock().unwrap()
    }
}

#[tonic::async_trait]
impl Server for Keeps {
    async fn get(&self, object: &Ref) -> Result<Value, ApiError> {
        self.objects().get(object).cloned().ok_or_else(|| ApiError::NotFound(object.to_string()))
    }
    async fn list(&self, _: Kind, _: &str, _: &str) -> Result<Vec<Value>, ApiError> {
        Ok(Vec::new())
    }
    async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value, ApiError> {
        let name = object["metadata"]["name"].as_str().unwrap();
        self.objects().insert(Ref::new(kind, namespace, name), object.clone());
        Ok(object.clone())
    }
    async fn apply(&self, object: &Ref, _: bool, value: &Value) -> Result<Value, ApiError> {
        self.objects().insert(object.clone(), value.clone());
        Ok(value.clone())
    }
    async fn replace_status(&self, object: &Ref, _: &str, _: &Value) -> Result<Value, ApiError> {
        Err(ApiError::NotFound(object.to_string()))
    }
    async fn delete(&self, object: &Ref, _: Option<&str>) -> Result<(), ApiError> {
        self.objects().remove(object);
        Ok(())
    }
    async fn delete_all(&self, _: Kind, _: &str, _: &str) -> Result<(), ApiError> {
        Ok(())
    }
    async fn events(&self, _: &str, _: &str) -> Result<Vec<Value>, ApiError> {
        Ok(Vec::new())
    }
    async fn published_keys(&self) -> Result<Value, ApiError> {
        Ok(Value::Null)
    }
    async fn access(&self, _: &str, _: &Value) -> Result<Value, ApiError> {
        Ok(Value::Null)
    }
}

#[tokio::test]
async fn what_is_deleted_of_the_authority_is_made_again_as_all_that_runs_knows_it() {
    let (server, now) = (Keeps::default(), 1_800_000_000);
    let first = Authority::found(&server, "ns", LIVES, (None, now)).await.unwrap();
    assert!(first.anew);
    let same = Authority::found(&server, "ns", LIVES, (Some(&first.authority), now + 1)).await.unwrap();
    assert!(!same.anew);
    let places = [place("ns"), Ref::new(Kind::ConfigMap, "ns", naming::AUTHORITY_CERTIFICATE)];
    for gone in &places {
        let before = server.objects()[gone]["data"].clone();
        server.delete(gone, None).await.unwrap();
        let again = Authority::found(&server, "ns", LIVES, (Some(&first.authority), now + 2)).await.unwrap();
        assert!(again.anew, "{gone}");
        assert_eq!(server.objects()[gone]["data"], before, "{gone}");
        assert_eq!(again.authority.bundle(), first.authority.bundle());
    }
    // To one that has never read it, it is lost.
    server.delete(&places[0], None).await.unwrap();
    let other = Authority::found(&server, "ns", LIVES, (None, now + 3)).await.unwrap();
    assert_ne!(other.authority.bundle(), first.authority.bundle());
    assert!(server.objects()[&places[1]]["data"]["ca.crt"] == other.authority.bundle().as_str());
}
