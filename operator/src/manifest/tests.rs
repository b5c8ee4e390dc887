//! The objects that the operator makes, as the API server gets them.

use serde_json::{Value, json};

use super::pod::{Shape, budget, pod, resources, room, slot_memory};
use super::*;
use crate::authority::RunPapers;
use crate::config::{Agent, Image};
use crate::manifest::run::{RunFile, new_papers, read_secret, renewal, secret};
use crate::view::{FlowKey, Room};

fn flow(spec: Value) -> FlowView {
    let object = json!({
        "metadata": {"name": "words", "namespace": "n", "uid": "u", "resourceVersion": "1"},
        "spec": spec,
    });
    FlowView::read(&object).unwrap()
}

fn with(fields: Value) -> FlowView {
    let mut spec =
        json!({"steps": [{"name": "in", "read": {"inline": {"rows": [["a"]]}}}, {"name": "out", "write": {"stdout": {}}}]});
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    flow(spec)
}

fn made(flow: &FlowView) -> Value {
    let image = Image { image: "ours:1".into(), pull_policy: "IfNotPresent".into(), pull_secrets: vec!["s".into()] };
    let spec = flow.spec.as_ref().unwrap();
    pod(&Shape { flow, spec, run: "u-1", base: "words-1", image: &image, operator: "10.0.0.1:7400" }, 3)
}

fn env<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    let all = pod.pointer("/spec/containers/0/env").and_then(Value::as_array).unwrap();
    all.iter().find(|variable| variable["name"] == name).and_then(|variable| variable["value"].as_str())
}

#[test]
fn an_executor_is_restricted_whatever_the_template_says() {
    let template = json!({
        "metadata": {"labels": {"team": "x", "gleamflow.io/run": "forged"}, "annotations": {"note": "y"}},
        "spec": {
            "serviceAccountName": "admin", "priorityClassName": "high", "nodeSelector": {"disk": "ssd"},
            "containers": [
                {"name": "executor", "env": [{"name": "MORE", "value": "1"}, {"name": "GLEAMFLOW_RUN", "value": "forged"}],
                 "volumeMounts": [{"name": "extra", "mountPath": "/extra"}]},
                {"name": "sidecar", "image": "s"},
            ],
            "volumes": [{"name": "extra", "emptyDir": {}}, {"name": "gleamflow-run", "emptyDir": {}}],
        },
    });
    let flow = with(json!({"executors": {"slots": 2, "template": template}}));
    let pod = made(&flow);
    assert_eq!(pod["metadata"]["name"], "words-1-3");
    assert_eq!(pod["metadata"]["labels"]["gleamflow.io/run"], "u-1");
    assert_eq!(pod["metadata"]["labels"]["team"], "x");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["controller"], true);
    let spec = &pod["spec"];
    for (field, value) in
        [("automountServiceAccountToken", json!(false)), ("enableServiceLinks", json!(false)), ("restartPolicy", json!("Never"))]
    {
        assert_eq!(spec[field], value, "{field}");
    }
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["priorityClassName"], "high");
    assert_eq!(env(&pod, "MORE"), Some("1"));
    assert_eq!(env(&pod, "GLEAMFLOW_RUN"), Some("u-1"));
    assert_eq!(env(&pod, "GLEAMFLOW_SLOTS"), Some("2"));
    for container in spec["containers"].as_array().unwrap() {
        assert_eq!(container["securityContext"], container_security(), "{container}");
    }
    let volumes = spec["volumes"].as_array().unwrap();
    let run: Vec<&Value> = volumes.iter().filter(|volume| volume["name"] == "gleamflow-run").collect();
    assert_eq!(run.len(), 1);
    assert_eq!(run[0]["secret"]["items"].as_array().unwrap().len(), 4, "what the run is stays out of the pod");
}

#[test]
fn storage_is_mounted_where_the_flow_looks_for_it() {
    let storage = json!({
        "volume": {"persistentVolumeClaim": {"claimName": "c"}},
        "objectStores": [{"prefix": "s3://b/", "secretRef": {"name": "keys"}, "endpoint": "http://minio:9000"}],
    });
    let flow = with(json!({"storage": storage}));
    let pod = made(&flow);
    let mounts: Vec<&str> = pod["spec"]["containers"][0]["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["mountPath"].as_str().unwrap())
        .collect();
    assert_eq!(mounts, ["/var/run/gleamflow", "/scratch", "/data", "/var/run/gleamflow-stores/0"]);
    let stores: Value = serde_json::from_str(env(&pod, "GLEAMFLOW_STORES").unwrap()).unwrap();
    assert_eq!(stores[0]["secretDir"], "/var/run/gleamflow-stores/0");
    let policy = policy::policy(&flow, "u-1", "words-1", flow.spec.as_ref().unwrap(), "gleamflow");
    let egress = policy["spec"]["egress"].as_array().unwrap();
    assert_eq!(egress.last().unwrap()["ports"], json!([{"protocol": "TCP", "port": 9000}]));
    assert!(egress.last().unwrap()["to"].is_null(), "a name may be any address");
    assert_eq!(policy["spec"]["ingress"], json!([]));
    let none = policy::policy(&with(json!({})), "u-1", "words-1", with(json!({})).spec.as_ref().unwrap(), "gleamflow");
    assert_eq!(none["spec"]["egress"].as_array().unwrap().len(), 3, "agents, operator, names");
}

#[test]
fn stores_at_addresses_are_reached_there_alone() {
    let flow = with(json!({"storage": {"objectStores": [
        {"prefix": "s3://a/", "endpoint": "http://192.0.2.7:9000"},
        {"prefix": "s3://b/", "endpoint": "https://192.0.2.7/path"},
        {"prefix": "s3://c/", "endpoint": "http://[2001:db8::7]:9001"},
        {"prefix": "s3://d/", "endpoint": "https://[2001:db8::7]"},
        {"prefix": "s3://e/"},
    ]}}));
    let policy = policy::policy(&flow, "u-1", "words-1", flow.spec.as_ref().unwrap(), "gleamflow");
    let tcp = |ports: &[u16]| ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect::<Vec<_>>();
    let to = |cidr: &str| json!([{"ipBlock": {"cidr": cidr}}, {"namespaceSelector": {}}]);
    let expected = [
        json!({"ports": tcp(&[80, 443])}),
        json!({"to": to("192.0.2.7/32"), "ports": tcp(&[443, 9000])}),
        json!({"to": to("2001:db8::7/128"), "ports": tcp(&[443, 9001])}),
    ];
    assert_eq!(policy["spec"]["egress"].as_array().unwrap()[3..], expected);
}

#[test]
fn memory_is_shared_by_slots() {
    let executors = |value: Value| serde_json::from_value::<crds::cluster::Executors>(value).unwrap();
    let given = executors(json!({"slots": 4, "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "2112Mi"}}}));
    assert_eq!(slot_memory(&given), 512 << 20);
    assert_eq!(budget(slot_memory(&given)), 384 << 20);
    assert_eq!(room(&given), Room { cpu: 2000, memory: 2112 << 20 });
    let plain = executors(json!({}));
    assert_eq!(slot_memory(&plain), 512 << 20);
    assert!(resources(&plain).limits.contains_key("memory"));
}

#[test]
fn what_a_run_is_survives_in_its_secret() {
    let flow = with(json!({}));
    let file = RunFile { spec: flow.spec.clone().unwrap(), seed: 7, slot_memory: 9 };
    let part = |name: &str| name.to_owned();
    let papers = RunPapers { token: part("t"), authority: part("a"), certificate: part("c"), key: part("k"), renew: 5 };
    let object = secret(&flow, "u-1", "words-1", &file, &papers);
    assert_eq!(read_secret(&object).unwrap(), file);
    assert_eq!(renewal(&object), 5);
    assert_eq!(renewal(&json!({})), 0, "one that does not say is renewed at once");
    let newer = new_papers("n", "words-1", "s", &papers);
    assert_eq!(newer["data"].as_object().unwrap().len(), 4, "what the run is stays");
    assert!(read_secret(&json!({"data": {"run": "AAAA"}})).is_err());
    assert_eq!(flow.key, FlowKey { namespace: "n".into(), name: "words".into() });
}

#[test]
fn agents_need_nothing_of_their_node() {
    let agent = Agent {
        image: Image { image: "x".into(), pull_policy: "Never".into(), pull_secrets: Vec::new() },
        memory: crds::Quantity::Text("64Mi".into()),
        disk: crds::Quantity::Text("1Gi".into()),
        resources: Default::default(),
        node_selector: Default::default(),
        tolerations: Vec::new(),
        priority_class_name: None,
    };
    let owner = agent::Owner { name: "gleamflow".into(), uid: "d".into() };
    let set = agent::daemon_set(&agent, "gleamflow", "10.0.0.1:7400", Some(&owner));
    let text = set.to_string();
    assert!(!text.contains("hostPath") && !text.contains("hostNetwork"));
    assert_eq!(set["metadata"]["ownerReferences"][0]["kind"], "Deployment");
    assert_eq!(set["spec"]["template"]["spec"]["volumes"][2]["emptyDir"]["sizeLimit"], "1Gi");
    let env = set.pointer("/spec/template/spec/containers/0/env").unwrap().to_string();
    assert!(env.contains("\"67108864\""), "{env}");
}
