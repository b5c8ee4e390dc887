//! An API server of ours, that answers as it is told: what real ones do when they are overloaded, restart or lose connections.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::flow::{Ran, binary, finish};

/// What comes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Object(Value),
    Text(String),
    /// An error of this code, in these words.
    Refusal(u16, &'static str),
    /// Events of a watch; then the connection ends.
    Events(Vec<Value>),
    /// The connection ends without a word.
    Reset,
}

/// Answers by what is asked for (`GET pods`, `LIST flows`, `WATCH flows`), the first ones first; the last one stays.
type Script = HashMap<&'static str, Vec<Answer>>;

/// A server, and the kubeconfig of somebody who uses it.
pub(crate) struct ApiServer {
    folder: TempDir,
    script: Arc<Mutex<Script>>,
}

impl ApiServer {
    pub(crate) fn new(script: &[(&'static str, &[Answer])]) -> ApiServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let server = format!("http://{}", listener.local_addr().expect("it has an address"));
        let script = script.iter().map(|(what, answers)| (*what, answers.to_vec())).collect();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(script));
        let told = Arc::clone(&script);
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let told = Arc::clone(&told);
                thread::spawn(move || serve(&connection, &told));
            }
        });
        let folder = TempDir::new().expect("a temporary folder");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": server}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": "home"}}],
            "users": [{"name": "it", "user": {"token": "token"}}],
        });
        std::fs::write(folder.path().join("config"), config.to_string()).expect("it is written");
        ApiServer { folder, script }
    }

    /// `gleamflow ARGUMENTS` on this cluster.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = binary();
        command.args(arguments).env("KUBECONFIG", self.folder.path().join("config"));
        finish(command)
    }

    /// How many of the answers to a question are not given yet; the last one always stays.
    pub(crate) fn left(&self, what: &str) -> usize {
        self.script.lock().expect("nobody panicked").get(what).map_or(0, Vec::len)
    }
}

/// One request per connection.
fn serve(mut connection: &TcpStream, script: &Mutex<Script>) {
    let mut reader = BufReader::new(connection);
    let mut first = String::new();
    if reader.read_line(&mut first).is_err() || first.is_empty() {
        return;
    }
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a length");
            }
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body comes");
    let mut words = first.split(' ');
    let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
    let what = asked(method, path);
    let answer = next(script, &what).unwrap_or(Answer::Refusal(404, "this server is not told of it"));
    // Who has gone away does not hear it.
    let _ = connection.write_all(&written(&answer));
    let _ = connection.shutdown(std::net::Shutdown::Both);
}

/// The question in short: `GET flow`, `LIST pods`, `WATCH flows`, `PATCH flow`, `GET log of NAME`.
fn asked(method: &str, path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let after = parts.iter().position(|part| *part == "namespaces").map_or(parts.len() - 1, |at| at + 2);
    let kind = parts[after].replace("gleamflows", "flows");
    match (parts.get(after + 1), parts.get(after + 2)) {
        (Some(name), Some(&"log")) => format!("GET log of {name}"),
        (Some(_), _) => format!("{method} {}", kind.trim_end_matches('s')),
        _ if query.contains("watch=true") => format!("WATCH {kind}"),
        _ => format!("LIST {kind}"),
    }
}

fn next(script: &Mutex<Script>, what: &str) -> Option<Answer> {
    let mut script = script.lock().expect("nobody panicked");
    let answers = script.get_mut(what)?;
    if answers.len() > 1 { Some(answers.remove(0)) } else { answers.first().cloned() }
}

fn written(answer: &Answer) -> Vec<u8> {
    let whole = |code: u16, kind: &str, text: &str| {
        let length = text.len();
        format!("HTTP/1.1 {code} Told\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
            .into_bytes()
    };
    match answer {
        Answer::Object(object) => whole(200, "application/json", &object.to_string()),
        Answer::Text(text) => whole(200, "text/plain", text),
        Answer::Refusal(code, message) => whole(*code, "application/json", &refusal(*code, message).to_string()),
        Answer::Events(events) => {
            let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{lines}").into_bytes()
        }
        Answer::Reset => Vec::new(),
    }
}

/// A `Status` object.
pub(crate) fn refusal(code: u16, message: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message, "reason": "Told"})
}
