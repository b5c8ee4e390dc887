//! The commands for a cluster, on an API server that has bad moments: they are waited out, and refusals are said.

use serde_json::{Value, json};

use crate::api_server::Answer::{Events, Object, Refusal, Reset, Text};
use crate::api_server::{Answer, ApiServer, refusal};

const OVERLOADED: Answer = Refusal(429, "storage is (re)initializing");
const AWAY: Answer = Refusal(503, "the server is currently unable to handle the request");
const TIMED_OUT: Answer = Refusal(500, "etcdserver: request timed out");
const FORBIDDEN: Answer = Refusal(403, "gleamflows is forbidden: nobody may");
const GONE: Answer = Refusal(410, "too old resource version");

fn flow(version: u32, phase: &str) -> Value {
    json!({
        "apiVersion": "gleamflow.io/v1alpha1", "kind": "GleamFlow",
        "metadata": {"name": "words", "namespace": "home", "uid": "u", "generation": 1, "resourceVersion": version.to_string()},
        "spec": {"steps": [{"name": "a", "read": {"inline": {"lines": ["x"]}}}, {"name": "show", "write": {"stdout": {}}}]},
        "status": {
            "observedGeneration": 1, "phase": phase, "progress": format!("{version}/9"),
            "outputs": [{"step": "show", "location": "Secret/words-1-output"}],
        },
    })
}

fn list(items: &[Value]) -> Answer {
    Object(json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}))
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "uid": name}})
}

#[test]
fn following_a_flow_outlives_all_that_a_watch_can_die_of() {
    let server = ApiServer::new(&[
        ("GET flow", &[TIMED_OUT, Object(flow(1, "Starting"))]),
        ("LIST flows", &[OVERLOADED, Reset, list(&[flow(1, "Starting")]), AWAY, list(&[flow(3, "Running")])]),
        (
            "WATCH flows",
            &[
                AWAY,
                Reset,
                Events(vec![event("MODIFIED", flow(2, "Running"))]),
                Events(vec![event("ERROR", refusal(410, "too old resource version"))]),
                GONE,
                Events(vec![event("ERROR", refusal(500, "etcdserver: no leader"))]),
                OVERLOADED,
                Events(vec![event("MODIFIED", flow(9, "Succeeded"))]),
            ],
        ),
    ]);
    let ran = server.run(&["status", "words", "--watch"]);
    let said = ["Starting  1/9", "Running  2/9", "Succeeded  9/9"];
    ran.expect(0, &[&said[..], &["failed to follow flow \"words\": storage is (re)initializing; trying again"]].concat());
    assert!(String::from_utf8_lossy(&ran.stdout).starts_with("words  Succeeded  9/9"), "{ran:?}");
    assert_eq!((server.left("LIST flows"), server.left("WATCH flows")), (1, 1), "all bad moments came; stderr:\n{}", ran.stderr);
}

#[test]
fn following_a_flow_says_at_once_what_will_not_pass() {
    let server = ApiServer::new(&[("GET flow", &[Object(flow(1, "Running"))]), ("LIST flows", &[FORBIDDEN])]);
    server.run(&["status", "words", "-w"]).expect(1, &["failed to follow flow \"words\"", "nobody may"]);

    let here = list(&[flow(1, "Running")]);
    let deleted = Events(vec![event("DELETED", flow(2, "Running"))]);
    let deletions: [&[(&'static str, &[Answer])]; 3] = [
        &[("GET flow", &[Object(flow(1, "Running"))]), ("LIST flows", &[list(&[])])],
        &[("GET flow", &[Object(flow(1, "Running"))]), ("LIST flows", &[here.clone()]), ("WATCH flows", &[deleted])],
        &[("GET flow", &[Object(flow(1, "Running"))]), ("LIST flows", &[here, list(&[])]), ("WATCH flows", &[GONE])],
    ];
    for script in deletions {
        ApiServer::new(script).run(&["status", "words", "-w"]).expect(1, &["flow \"words\" was deleted"]);
    }
    let none = ApiServer::new(&[("GET flow", &[Refusal(404, "gleamflows.gleamflow.io \"words\" not found")])]);
    none.run(&["status", "words", "-w"]).expect(1, &["it is not in namespace \"home\""]);
}

#[test]
fn every_command_asks_again_after_what_passes() {
    let bad = |good: Answer| [OVERLOADED, AWAY, TIMED_OUT, Reset, good];
    let (flow_answers, flows) = (bad(Object(flow(1, "Succeeded"))), bad(list(&[flow(1, "Succeeded")])));
    let (pods, events, log) = (bad(list(&[pod("words-1-0")])), bad(list(&[])), bad(Text("welcome\n".to_owned())));
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words-1-output"}, "data": {"show": "YSAzCg=="}});
    let secret = bad(Object(secret));
    let script: [(&'static str, &[Answer]); 7] = [
        ("GET flow", &flow_answers),
        ("PATCH flow", &flow_answers),
        ("LIST flows", &flows),
        ("LIST pods", &pods),
        ("LIST events", &events),
        ("GET secret", &secret),
        ("GET log of words-1-0", &log),
    ];
    for (arguments, questions, expected) in [
        (&["status", "words"][..], &["GET flow"][..], "words  Succeeded"),
        (&["list"], &["LIST flows"], "Succeeded"),
        (&["why", "words"], &["GET flow", "LIST pods", "LIST events"], "words: Succeeded"),
        (&["output", "words"], &["GET flow", "GET secret"], "a 3\n"),
        (&["logs", "words"], &["GET flow", "LIST pods", "GET log of words-1-0"], "words-1-0  welcome\n"),
        (&["rerun", "words"], &["PATCH flow"], "\"words\" will run again"),
    ] {
        let server = ApiServer::new(&script);
        let ran = server.run(arguments);
        ran.expect(0, &["storage is (re)initializing; trying again", "etcdserver: request timed out; trying again"]);
        assert!(String::from_utf8_lossy(&ran.stdout).contains(expected), "{arguments:?}: {ran:?}");
        for question in questions {
            assert_eq!(server.left(question), 1, "{arguments:?} asked {question} until it was answered");
        }
    }
}

#[test]
fn refusals_are_said_at_once() {
    let server = ApiServer::new(&[("GET flow", &[FORBIDDEN]), ("LIST flows", &[FORBIDDEN]), ("PATCH flow", &[FORBIDDEN])]);
    for arguments in
        [&["status", "words"][..], &["list"], &["why", "words"], &["output", "words"], &["logs", "words"], &["rerun", "words"]]
    {
        let ran = server.run(arguments);
        ran.expect(1, &["nobody may"]);
        assert!(!ran.stderr.contains("trying again"), "{}", ran.stderr);
    }
}

#[test]
fn an_executor_whose_log_says_nothing_is_named_and_the_others_are_shown() {
    let waiting = Refusal(400, "container \"executor\" in pod \"words-1-1\" is waiting to start: ContainerCreating");
    let server = ApiServer::new(&[
        ("GET flow", &[Object(flow(1, "Running"))]),
        ("LIST pods", &[list(&[pod("words-1-0"), pod("words-1-1"), pod("words-1-2"), pod("words-1-3")])]),
        ("GET log of words-1-0", &[Text(String::new())]),
        ("GET log of words-1-1", &[waiting]),
        ("GET log of words-1-2", &[Refusal(404, "pods \"words-1-2\" not found")]),
        ("GET log of words-1-3", &[Text("welcome\n".to_owned())]),
    ]);
    let ran = server.run(&["logs", "words"]);
    ran.expect(
        0,
        &["words-1-0: it has said nothing", "is waiting to start: ContainerCreating", "words-1-2: it was deleted just now"],
    );
    assert_eq!(ran.stdout, b"words-1-3  welcome\n");
}

/// The operator is given the user's token: who may make pods in some namespace must not be taken for it.
#[test]
fn a_pod_that_only_calls_itself_an_operator_is_not_asked() {
    let mut local = flow(1, "Succeeded");
    local["status"]["outputs"][0]["location"] = json!("NodeLocal");
    let operator = |namespace: &str| {
        let mut pod = pod("gleamflow-operator-1");
        pod["metadata"]["namespace"] = json!(namespace);
        pod
    };
    let binding = |namespace: &str, name: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": "gleamflow-operator", "namespace": namespace}]
        })
    };
    let ask = |pods: &[Value], bindings: Answer, more: &[&str]| {
        let authority = [Refusal(403, "the authority of an operator")];
        let (local, pods) = ([Object(local.clone())], [list(pods)]);
        let server = ApiServer::new(&[
            ("GET flow", &local),
            ("LIST pods", &pods),
            ("LIST clusterrolebindings", &[bindings]),
            ("GET configmap", &authority),
        ]);
        server.run(&[&["output", "words"], more].concat())
    };
    let refused = "pods that call themselves operators are in namespace \"aaa\"";
    for bindings in [FORBIDDEN, list(&[]), list(&[binding("aaa", "somebody"), binding("b", "b-gleamflow-operator")])] {
        let ran = ask(&[operator("aaa")], bindings, &[]);
        ran.expect(1, &[refused, "--operator-namespace"]);
        assert!(!ran.stderr.contains("the authority"), "it was asked: {}", ran.stderr);
    }
    // It is as far as its authority where it is believed.
    let bound = || list(&[binding("aaa", "aaa-gleamflow-operator")]);
    for (at, bindings, more) in
        [("gleamflow", FORBIDDEN, &[][..]), ("aaa", bound(), &[]), ("aaa", FORBIDDEN, &["--operator-namespace=aaa"])]
    {
        ask(&[operator(at)], bindings, more).expect(1, &["the authority of an operator"]);
    }
}
