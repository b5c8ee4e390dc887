//! A whole cluster but for Kubernetes: the real master, agents and executor programs, over the loopback, with TLS of a real authority.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use executor::agent::options::Options;
use operator::authority::{Authority, Lives};
use operator::http::Health;
use operator::master::api::{Entry, KeepError, Progress, RecordError, Recorder, RunPhase, RunSpec, Runs};
use operator::master::service::{KeptOutput, Master, Refusal, TlsConnect, Trust};
use operator::metrics::Metrics;
use proto::credentials::{Credentials, Door, Papers};
use proto::listen::{Limits, connections};
use proto::master::{Enroll, Enrolled, OutputRequest};
use proto::token::{PublicKey, now};
use proto::transport::{Serves, server};
use proto::{RunId, Term};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

pub(crate) const LIVES: Lives = Lives { certificate: 100, authority: 1200 };
const PATIENCE: Duration = Duration::from_secs(180);
const LOCAL: &str = "127.0.0.1:0";

/// What the operator knows its callers by; the test moves its clock.
#[derive(Debug)]
pub(crate) struct Trusted {
    pub(crate) authority: Mutex<Arc<Authority>>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) enrolled: AtomicU64,
    /// Seconds that are added to the time.
    pub(crate) later: AtomicU64,
}

pub(crate) struct Cluster {
    pub(crate) master: Master,
    pub(crate) trust: Arc<Trusted>,
    pub(crate) operator: SocketAddr,
    pub(crate) operator_pages: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    agents: u16,
}

/// An executor's process and the folders that its pod would have.
pub(crate) struct Executor {
    pub(crate) process: Child,
    pub(crate) pages: SocketAddr,
    credentials: PathBuf,
}

#[derive(Debug, Default)]
struct Memory(Mutex<Vec<Entry>>);

#[tonic::async_trait]
impl Recorder for Memory {
    async fn append(&self, _: &RunId, at: usize, entry: &Entry) -> Result<(), RecordError> {
        let mut entries = self.0.lock().unwrap();
        assert_eq!(entries.len(), at);
        entries.push(entry.clone());
        Ok(())
    }

    async fn read(&self, _: &RunId) -> Result<Vec<Entry>, RecordError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn keep_output(&self, _: &RunId, _: &BTreeMap<String, Vec<u8>>) -> Result<(), KeepError> {
        Ok(())
    }
}

impl Trusted {
    pub(crate) fn authority(&self) -> Arc<Authority> {
        Arc::clone(&self.authority.lock().unwrap())
    }

    pub(crate) fn now(&self) -> u64 {
        now() + self.later.load(Ordering::Relaxed)
    }

    fn renew(&self) {
        self.credentials.change(operators(&self.authority(), self.now())).unwrap();
    }
}

#[tonic::async_trait]
impl Trust for Trusted {
    async fn enroll(&self, token: &str, request: Enroll) -> Result<Enrolled, Refusal> {
        if token != format!("projected of {}", request.node) {
            return Err(Refusal::Unknown("the API server does not know it".to_owned()));
        }
        let authority = self.authority();
        let made = authority.agent(&request.csr, &request.node, [127, 0, 0, 1].into(), self.now());
        let issued = made.map_err(|error| Refusal::Unknown(error.to_string()))?;
        self.enrolled.fetch_add(1, Ordering::Relaxed);
        // It comes again soon.
        let expires = now() + 3;
        let token = authority.agent_token(&request.node, expires, self.now());
        let (bundle, keys) = (authority.bundle(), authority.keys());
        Ok(Enrolled { certificate: issued.certificate, expires, authority: bundle, keys, token })
    }

    async fn output(&self, token: &str, _: &OutputRequest) -> Result<KeptOutput, Refusal> {
        Err(Refusal::Forbidden(format!("the holder of {token:?} may not read it")))
    }

    fn credentials(&self) -> Option<Arc<Credentials>> {
        Some(Arc::clone(&self.credentials))
    }

    fn keys(&self) -> Vec<PublicKey> {
        self.authority().keys()
    }

    fn operator_token(&self, term: Term) -> String {
        self.authority().operator_token(term, self.now())
    }
}

pub(crate) fn operators(authority: &Authority, now: u64) -> Papers {
    let issued = authority.operator([127, 0, 0, 1].into(), now).unwrap();
    Papers { authority: authority.bundle(), own: Some((issued.certificate, issued.key)) }
}

pub(crate) fn run(name: &str) -> RunId {
    RunId::try_from(name.to_owned()).unwrap()
}

impl Cluster {
    /// An operator that leads, of an authority that was made so many seconds ago.
    pub(crate) async fn start(age: u64) -> Cluster {
        let authority = Authority::new(LIVES, now() - age).unwrap();
        let credentials = Credentials::new(operators(&authority, now()), Door::Anybody).unwrap();
        let trust = Arc::new(Trusted {
            authority: Mutex::new(Arc::new(authority)),
            credentials: Arc::clone(&credentials),
            enrolled: AtomicU64::new(0),
            later: AtomicU64::new(0),
        });
        let master = Master::new(Arc::new(TlsConnect::default()));
        master.set_trust(Arc::clone(&trust) as Arc<dyn Trust>);
        master.lead(Term(1));
        let listener = TcpListener::bind(LOCAL).await.unwrap();
        let operator = listener.local_addr().unwrap();
        let connections = connections(listener, Some(credentials), Limits { all: 1000, each: 500 });
        tokio::spawn(server(Serves::Operator).add_service(master.service()).serve_with_incoming(connections));
        let pages = TcpListener::bind(LOCAL).await.unwrap();
        let operator_pages = pages.local_addr().unwrap();
        let health = Arc::new(Health { ready: AtomicBool::new(true), metrics: Metrics::new() });
        tokio::spawn(operator::http::serve(pages, health));
        Cluster { master, trust, operator, operator_pages, folder: tempfile::tempdir().unwrap(), agents: 0 }
    }

    /// Starts an agent; its port for calls, and the one of its pages.
    pub(crate) async fn agent(&mut self) -> (u16, u16) {
        self.agents += 1;
        let node = format!("node-{}", self.agents);
        let home = self.folder.path().join(&node);
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("token"), format!("projected of {node}\n")).unwrap();
        std::fs::write(home.join("ca.crt"), self.trust.authority().bundle()).unwrap();
        let free = || std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        let (port, health_port) = (free(), free());
        let options = Options {
            operator: self.operator.to_string(),
            node,
            address: [127, 0, 0, 1].into(),
            port,
            health_port,
            memory: 128 << 20,
            disk: 256 << 20,
            spill: home.clone(),
            token_file: home.join("token"),
            authority_file: home.join("ca.crt"),
        };
        tokio::spawn(executor::agent::serve(options, std::future::pending()));
        let known = usize::from(self.agents);
        self.until("the agent beats", || self.master.agents().len() == known).await;
        (port, health_port)
    }

    /// Starts a flow (its steps, in YAML); relative paths are below the cluster's folder.
    pub(crate) fn apply(&self, id: &RunId, steps: &str) {
        let yaml = format!(
            "apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: flow}}\nspec:\n  storage: {{volume: {{emptyDir: {{}}}}}}\n  steps:\n{steps}"
        );
        let document = crds::Document::parse(&yaml, "flow.yaml").unwrap();
        let spec = RunSpec {
            id: id.clone(),
            namespace: "default".to_owned(),
            flow: "flow".to_owned(),
            spec: document.flow.spec,
            seed: 7,
            slot_memory: 64 << 20,
            record: Vec::new(),
        };
        self.master.start(spec, Arc::new(Memory::default()));
        self.master.all_runs_started();
    }

    /// Starts an executor of one slot for a run.
    pub(crate) async fn executor(&self, id: &RunId, name: &str) -> Executor {
        let home = self.folder.path().join(name);
        let (credentials, scratch, data) = (home.join("credentials"), home.join("scratch"), self.folder.path().join("data"));
        for folder in [&credentials, &scratch, &data] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let pages = SocketAddr::from(([127, 0, 0, 1], std::net::TcpListener::bind(LOCAL).unwrap().local_addr().unwrap().port()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_gleamflow-executor"));
        command.arg("executor").args(["--listen", &pages.to_string()]);
        command.arg("--credentials").arg(&credentials).arg("--scratch").arg(&scratch).arg("--data").arg(&data);
        command.env("GLEAMFLOW_OPERATOR", self.operator.to_string()).env("GLEAMFLOW_RUN", id.as_str());
        command.env("POD_NAME", name).env("NODE_NAME", "node-1").env("GLEAMFLOW_SLOT_MEMORY", (256 << 20).to_string());
        let log = std::fs::File::create(home.join("log")).unwrap();
        self.papers(id, &credentials);
        let process = command.stdin(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap();
        Executor { process, pages, credentials }
    }

    /// What the kubelet would mount now.
    fn papers(&self, id: &RunId, folder: &Path) {
        let papers = self.trust.authority().executors(id, self.trust.now()).unwrap();
        let files =
            [("token", papers.token), ("ca.crt", papers.authority), ("tls.crt", papers.certificate), ("tls.key", papers.key)];
        for (name, content) in files {
            std::fs::write(folder.join("new"), content).unwrap();
            std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
        }
    }

    /// What has changed reaches the operator, and what the kubelet mounts.
    pub(crate) fn renew(&self, id: &RunId, executor: &Executor) {
        self.trust.renew();
        self.papers(id, &executor.credentials);
        for agent in 1..=self.agents {
            let home = self.folder.path().join(format!("node-{agent}"));
            std::fs::write(home.join("new"), self.trust.authority().bundle()).unwrap();
            std::fs::rename(home.join("new"), home.join("ca.crt")).unwrap();
        }
    }

    pub(crate) fn progress(&self, id: &RunId) -> Progress {
        self.master.progress(id).unwrap()
    }

    /// Waits for the end of a run, which must be a good one.
    pub(crate) async fn succeeds(&self, id: &RunId) -> Progress {
        self.until("the run is over", || self.progress(id).phase.is_over()).await;
        let progress = self.progress(id);
        assert_eq!(progress.phase, RunPhase::Succeeded, "{:?}", progress.failures);
        progress
    }

    /// All lines that a sink has written, sorted.
    pub(crate) fn lines(&self, path: &str) -> Vec<String> {
        let folder = self.folder.path().join("data").join(path);
        assert!(folder.join("_SUCCESS").exists());
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let text: String = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Opens a gate that a pipe of the flow waits for.
    pub(crate) fn open(&self, gate: &str) {
        std::fs::write(self.folder.path().join("data").join(gate), "").unwrap();
    }

    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !is_so() {
            assert!(begin.elapsed() < PATIENCE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Executor {
    /// As a kubelet does that is told to.
    pub(crate) fn terminate(&self) {
        let pid = self.process.id().expect("it runs").to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    pub(crate) async fn exit(&mut self) -> i32 {
        let status = tokio::time::timeout(PATIENCE, self.process.wait()).await.expect("the executor ends");
        status.unwrap().code().expect("it exits")
    }

    pub(crate) fn memory(&self) -> u64 {
        memory(&self.process.id().expect("it runs").to_string())
    }
}

/// Bytes of a process that are in memory.
pub(crate) fn memory(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
