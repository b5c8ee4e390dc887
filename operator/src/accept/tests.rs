//! Flows that are taken, and flows that are refused with a reason.

use serde_json::{Value, json};

use super::*;

fn spec(value: Value) -> Result<GleamFlowSpec, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn lines(write: Value) -> Value {
    json!({"steps": [{"name": "in", "read": {"inline": {"rows": [["a"]]}}}, {"name": "out", "write": write}]})
}

fn check(value: Value, reason: &str) {
    let found = accept(&spec(value.clone()), &Prelude::NotAsked, &Claim::NotAsked).refusal;
    assert_eq!(found.as_ref().map_or("accepted", |refusal| refusal.reason), reason, "{value}: {found:?}");
}

fn with(mut flow: Value, field: &str, value: Value) -> Value {
    flow[field] = value;
    flow
}

#[test]
fn a_flow_is_refused_by_what_is_wrong_with_it() {
    let good = lines(json!({"stdout": {}}));
    check(good.clone(), "accepted");
    check(json!({"steps": [{"name": "in", "from": ["nobody"], "write": {"stdout": {}}}]}), "UnknownInput");
    let around = json!([
        {"name": "a", "from": ["b"], "map": {"lua": "function(x) return x end"}},
        {"name": "b", "from": ["a"], "map": {"lua": "function(x) return x end"}},
        {"name": "out", "write": {"stdout": {}}},
    ]);
    check(json!({"steps": around}), "InvalidGraph");
    let unknown = json!([
        {"name": "in", "read": {"inline": {"rows": [["a"]]}}},
        {"name": "m", "map": {"lua": "function(x) return x .. '$(params.nobody)' end"}},
        {"name": "out", "write": {"stdout": {}}},
    ]);
    check(json!({"steps": unknown}), "InvalidGraph");
    check(
        json!({"steps": [{"name": "in", "read": {"inline": {"rows": [["a"]]}}}, {"name": "m", "map": {"lua": "function("}}, {"name": "out", "write": {"stdout": {}}}]}),
        "UdfCompileError",
    );
    check(with(good.clone(), "managedBy", json!("kueue.x-k8s.io/multikueue")), "Unsupported");
    check(with(good.clone(), "scheduling", json!({"queueName": "q"})), "Unsupported");
    check(with(good.clone(), "executors", json!({"template": {"spec": {"hostNetwork": true}}})), "TemplateRejected");
    check(with(good.clone(), "executors", json!({"template": {"spec": {"nodeSelectr": {}}}})), "TemplateRejected");
    let token = json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let volumes = json!([{"name": "t", "projected": token["projected"]}]);
    check(with(good.clone(), "executors", json!({"template": {"spec": {"volumes": volumes}}})), "TemplateRejected");
    check(with(good.clone(), "storage", json!({"volume": token})), "VolumeRejected");
    check(with(good.clone(), "storage", json!({"volume": {"hostPath": {"path": "/"}}})), "VolumeRejected");
    check(json!({"steps": 3}), "Invalid");
    let missing = Prelude::Missing("ConfigMap \"c\" is not there".into());
    assert_eq!(accept(&spec(good), &missing, &Claim::NotAsked).refusal.map(|refusal| refusal.reason), Some("ConfigMapNotFound"));
}

#[test]
fn paths_need_a_volume_that_every_node_sees() {
    let flow = lines(json!({"text": {"path": "out"}}));
    let on = |volume: Value| with(flow.clone(), "storage", json!({"volume": volume}));
    check(flow.clone(), "NoStorage");
    check(on(json!({"emptyDir": {}})), "NoStorage");
    check(on(json!({"configMap": {"name": "c"}})), "NoStorage");
    check(on(json!({"persistentVolumeClaim": {"claimName": "c"}})), "accepted");
    check(on(json!({"nfs": {"server": "s", "path": "/p"}})), "accepted");
    check(on(json!({})), "Invalid");
    check(lines(json!({"text": {"path": "/tmp/out"}})), "NoStorage");
    check(lines(json!({"text": {"path": "s3://bucket/out"}})), "accepted");
    let read =
        json!({"steps": [{"name": "in", "read": {"text": {"paths": ["a.txt"]}}}, {"name": "out", "write": {"stdout": {}}}]});
    check(read.clone(), "NoStorage");
    check(with(read, "storage", json!({"volume": {"configMap": {"name": "c"}}})), "accepted");
}

#[test]
fn a_claim_that_nodes_cannot_share_takes_no_files_unless_one_executor_does_it_all() {
    let flow = with(
        lines(json!({"text": {"path": "out"}})),
        "storage",
        json!({"volume": {"persistentVolumeClaim": {"claimName": "scratch"}}}),
    );
    let single = with(flow.clone(), "executors", json!({"maxReplicas": 1}));
    let pinned = json!({"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "a"}}}});
    let pinned = with(flow.clone(), "executors", pinned);
    let on = |flow: &Value, modes: &[&str], says: &str| {
        let claim = Claim::Modes(modes.iter().map(|mode| (*mode).to_owned()).collect());
        let refusal = accept(&spec(flow.clone()), &Prelude::NotAsked, &claim).refusal;
        let told = refusal.map_or_else(|| "accepted".to_owned(), |refusal| format!("{}: {}", refusal.reason, refusal.message));
        assert!(told.contains(says), "{modes:?}: {told}");
    };
    on(&flow, &["ReadWriteOnce"], "NoStorage: step \"out\" writes to \"out\", but the claim \"scratch\" is ReadWriteOnce");
    on(&flow, &["ReadWriteOnce"], "executors.maxReplicas: 1");
    on(&flow, &["ReadOnlyMany"], "nobody can write");
    on(&flow, &["ReadWriteMany"], "accepted");
    on(&flow, &["ReadWriteOnce", "ReadWriteMany"], "accepted");
    on(&single, &["ReadWriteOnce"], "accepted");
    on(&single, &["ReadWriteOncePod"], "accepted");
    on(&single, &["ReadOnlyMany"], "nobody can write");
    on(&pinned, &["ReadWriteOnce"], "accepted");
    on(&pinned, &["ReadWriteOncePod"], "NoStorage");
    let claim_of = |flow: &Value| claim_name(&spec(flow.clone()).unwrap()).map(str::to_owned);
    assert_eq!(claim_of(&flow).as_deref(), Some("scratch"));
    assert_eq!(claim_of(&with(flow, "steps", lines(json!({"stdout": {}}))["steps"].clone())), None);
}

#[test]
fn results_that_outlive_a_run_need_a_volume_that_every_node_sees() {
    let flow = json!({"cache": {"enabled": true}, "steps": [
        {"name": "in", "read": {"inline": {"rows": [["a"]]}}, "persist": true}, {"name": "out", "write": {"stdout": {}}},
    ]});
    let on = |volume: Value| with(flow.clone(), "storage", json!({"volume": volume}));
    check(flow.clone(), "NoStorage");
    check(on(json!({"emptyDir": {}})), "NoStorage");
    check(on(json!({"persistentVolumeClaim": {"claimName": "c"}})), "accepted");
    check(with(flow, "cache", json!({"enabled": false})), "accepted");
    check(with(lines(json!({"stdout": {}})), "cache", json!({"enabled": true})), "accepted");
}

#[test]
fn only_what_defines_the_rows_is_in_the_hash() {
    let flow = lines(json!({"stdout": {}}));
    let hash = |flow: Value| accept(&spec(flow), &Prelude::NotAsked, &Claim::NotAsked).hash;
    let same = [
        ("suspend", json!(true)),
        ("retention", json!({"podsSeconds": 7})),
        ("executors", json!({"maxReplicas": 3})),
        ("rerunNonce", json!("x")),
    ];
    for (field, value) in same {
        assert_eq!(hash(with(flow.clone(), field, value)), hash(flow.clone()), "{field}");
    }
    assert_ne!(hash(with(flow.clone(), "params", json!([{"name": "p", "value": "1"}]))), hash(flow.clone()));
    assert_ne!(hash(with(flow.clone(), "lua", json!("x = 1"))), hash(flow.clone()));
    let from = with(flow, "luaFrom", json!({"configMapKeyRef": {"name": "c", "key": "k"}}));
    let of = |text: &str| accept(&spec(from.clone()), &Prelude::Found(text.into()), &Claim::NotAsked).hash;
    assert_ne!(of("x = 1"), of("x = 2"));
}
