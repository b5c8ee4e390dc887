//! A moto server: S3 on the loopback. It is installed from PyPI into the build directory at the first use.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use engine::Stores;

/// The URL of the server, which runs until the test process ends.
fn endpoint() -> &'static str {
    static ENDPOINT: OnceLock<String> = OnceLock::new();
    ENDPOINT.get_or_init(|| start(&[]))
}

/// A user of a server that checks signatures and policies.
pub(crate) struct User {
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// A server of its own where each of `users` (in lower case) may do everything with the bucket of the same name, and nothing
/// with any other; its URL, and their keys.
pub(crate) fn strict(users: &[&str]) -> (String, Vec<User>) {
    // Four requests each come before the checks begin.
    let endpoint = start(&[("INITIAL_NO_AUTH_ACTION_COUNT", &(4 * users.len()).to_string())]);
    let address = endpoint.strip_prefix("http://").expect("moto speaks http");
    let made = users.iter().map(|name| {
        create_bucket(address, name);
        iam(address, &format!("Action=CreateUser&UserName={name}"));
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::{name}","arn:aws:s3:::{name}/*"]}}]}}"#
        );
        let policy = policy.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        iam(address, &format!("Action=PutUserPolicy&UserName={name}&PolicyName=own&PolicyDocument={policy}"));
        let answer = iam(address, &format!("Action=CreateAccessKey&UserName={name}"));
        let text = |tag: &str| {
            let (_, rest) = answer.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("no {tag} in {answer}"));
            rest.split('<').next().unwrap_or_default().to_owned()
        };
        User { key: text("AccessKeyId"), secret: text("SecretAccessKey") }
    });
    let made = made.collect();
    (endpoint, made)
}

fn iam(address: &str, form: &str) -> String {
    let answer = super::server::request(
        address,
        &format!(
            "POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{form}",
            form.len()
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// Stores that reach the server with any credentials.
pub(crate) fn stores() -> Arc<Stores> {
    let settings = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint()),
    ];
    Stores::new(settings.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

/// Ends when its standard input does, that is, with the test process, however that ends.
const SERVER: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', '0'])
";

fn start(variables: &[(&str, &str)]) -> String {
    let mut server = Command::new(python())
        .args(["-c", SERVER])
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the python of the virtual environment starts");
    // Leaked on purpose: it is closed by the end of the process.
    std::mem::forget(server.stdin.take());
    let mut lines = BufReader::new(server.stderr.take().expect("standard error is piped")).lines();
    let mut seen = String::new();
    let endpoint = loop {
        let line = lines.next().unwrap_or_else(|| panic!("moto ended before it listened: {seen}")).expect("moto writes text");
        if let Some(at) = line.find("http://127.0.0.1:") {
            break line[at..].trim().to_owned();
        }
        seen += &line;
    };
    // Its log must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    endpoint
}

/// The python of a virtual environment with moto in it.
fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(install).clone()
}

fn install() -> PathBuf {
    let environment = super::build_directory().join("moto");
    let python = environment.join("bin/python");
    let complete = environment.join("complete");
    if !complete.exists() {
        command("python3", &["-m", "venv", &environment.to_string_lossy()]);
        command(
            &python.to_string_lossy(),
            &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "moto[server]==5.2.5"],
        );
        std::fs::write(complete, "").expect("the build directory can be written to");
    }
    python
}

fn command(program: &str, arguments: &[&str]) {
    let explain = "these tests need python3 with venv and pip, and a PyPI to install moto from";
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start ({error}): {explain}"));
    assert!(output.status.success(), "{program} {arguments:?} failed: {explain}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a bucket.
pub(crate) fn make_bucket(name: &str) {
    create_bucket(endpoint().strip_prefix("http://").expect("moto speaks http"), name);
}

fn create_bucket(address: &str, name: &str) {
    let answer = super::server::request(
        address,
        &format!(
            "PUT /{name} HTTP/1.1\r\nHost: {address}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// How many uploads to a bucket have begun and are neither completed nor aborted.
pub(crate) fn uploads(bucket: &str) -> usize {
    let address = endpoint().strip_prefix("http://").expect("moto speaks http");
    let answer = super::server::request(
        address,
        &format!(
            "GET /{bucket}?uploads HTTP/1.1\r\nHost: {address}\r\nAuthorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request\r\nConnection: close\r\n\r\n"
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.matches("<UploadId>").count()
}
