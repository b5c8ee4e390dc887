//! Plans of flows that others have drawn (Crunch's, Scoobi's and Beam's tests, the paper's figures), by the contract of `plan -o json`: counts
//! reckoned by hand, and the shape of what is printed.

use serde_json::Value;

use crate::flow::{binary, finish};

/// Steps of a flow; how many operations there are at first, once unions have sunk and when all is fused, if that is reckoned; how many stages.
type Case = (&'static str, &'static [&'static str], Option<[u64; 3]>, usize);

#[rustfmt::skip]
const CASES: &[Case] = &[
    ("wordcount", &[
        r#"{name: l, read: {text: {paths: [l.txt]}}}"#,
        r#"{name: s, from: [l], map: {lua: 'function(a,b) return a,b,"s" end'}}"#,
        r#"{name: o, from: [s], map: {lua: 'function(a,b) return a,b,"o" end'}}"#,
        r#"{name: c, from: [o], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: f, from: [c], map: {lua: 'function(a,b) return a,b,"f" end'}}"#,
        r#"{name: w, from: [f], write: {text: {path: out/w}}}"#,
    ], Some([6, 6, 3]), 1),
    ("crunch-two-outputs-one-group", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: g, from: [x], groupBy: {key: [1]}}"#,
        r#"{name: p, from: [g], map: {lua: 'function(a,b) return a,b,"p" end'}}"#,
        r#"{name: q, from: [g], map: {lua: 'function(a,b) return a,b,"q" end'}}"#,
        r#"{name: wp, from: [p], write: {text: {path: out/wp}}}"#,
        r#"{name: wq, from: [q], write: {text: {path: out/wq}}}"#,
    ], Some([6, 6, 3]), 1),
    ("crunch-union-group", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: b, read: {text: {paths: [b.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: yy, from: [b], map: {lua: 'function(a,b) return a,b,"yy" end'}}"#,
        r#"{name: u, from: [x, yy], union: {}}"#,
        r#"{name: g, from: [u], groupBy: {key: [1]}}"#,
        r#"{name: w, from: [g], write: {text: {path: out/w}}}"#,
    ], Some([4, 4, 4]), 1),
    ("sink-through-two", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: b, read: {text: {paths: [b.txt]}}}"#,
        r#"{name: u, from: [a, b], union: {}}"#,
        r#"{name: x, from: [u], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: yy, from: [x], map: {lua: 'function(a,b) return a,b,"yy" end'}}"#,
        r#"{name: g, from: [yy], groupBy: {key: [1]}}"#,
        r#"{name: w, from: [g], write: {text: {path: out/w}}}"#,
    ], Some([4, 6, 4]), 1),
    ("map-only", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: w, from: [x], write: {text: {path: out/w}}}"#,
    ], Some([2, 2, 1]), 1),
    ("two-writes-of-one", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: w1, from: [x], write: {text: {path: out/w1}}}"#,
        r#"{name: w2, from: [x], write: {text: {path: out/w2}}}"#,
    ], Some([3, 3, 1]), 1),
    ("group-of-group-by-another-key", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: g, from: [x], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: yy, from: [g], map: {lua: 'function(a,b) return b,a,"yy" end'}}"#,
        r#"{name: h, from: [yy], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: w, from: [h], write: {text: {path: out/w}}}"#,
    ], None, 2),
    // The function between passes the key on, as it came: no two rows have the same.
    ("group-of-group", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: g, from: [x], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: yy, from: [g], map: {lua: 'function(a,b) return a,b,"yy" end'}}"#,
        r#"{name: h, from: [yy], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: w, from: [h], write: {text: {path: out/w}}}"#,
    ], None, 1),
    ("related-by-input", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: g, from: [x], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: c, from: [x], count: {key: [1]}}"#,
        r#"{name: w1, from: [g], write: {text: {path: out/w1}}}"#,
        r#"{name: w2, from: [c], write: {text: {path: out/w2}}}"#,
    ], Some([8, 8, 5]), 1),
    ("unrelated", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: b, read: {text: {paths: [b.txt]}}}"#,
        r#"{name: g, from: [a], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: h, from: [b], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: w1, from: [g], write: {text: {path: out/w1}}}"#,
        r#"{name: w2, from: [h], write: {text: {path: out/w2}}}"#,
    ], Some([6, 6, 4]), 2),
    ("join2", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: b, read: {text: {paths: [b.txt]}}}"#,
        r#"{name: j, from: [a, b], join: {key: [1], kind: inner, broadcast: never}}"#,
        r#"{name: w, from: [j], write: {text: {path: out/w}}}"#,
    ], Some([5, 5, 4]), 1),
    ("join3", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: b, read: {text: {paths: [b.txt]}}}"#,
        r#"{name: c, read: {text: {paths: [c.txt]}}}"#,
        r#"{name: j, from: [a, b, c], join: {key: [1], kind: inner, broadcast: never}}"#,
        r#"{name: w, from: [j], write: {text: {path: out/w}}}"#,
    ], Some([6, 6, 5]), 1),
    ("selfjoin", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: j, from: [x, x], join: {key: [1], kind: inner, broadcast: never}}"#,
        r#"{name: w, from: [j], write: {text: {path: out/w}}}"#,
    ], Some([6, 6, 3]), 1),
    ("cogroup-map", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: b, read: {text: {paths: [b.txt]}}}"#,
        r#"{name: g, from: [a, b], coGroup: {key: [1]}}"#,
        r#"{name: m, from: [g], map: {lua: 'function(a,b) return a,b,"m" end'}}"#,
        r#"{name: w, from: [m], write: {text: {path: out/w}}}"#,
    ], Some([6, 6, 4]), 1),
    ("sort-write", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: s, from: [a], sort: {by: [{field: 1}]}}"#,
        r#"{name: w, from: [s], write: {text: {path: out/w}}}"#,
    ], Some([2, 2, 2]), 1),
    ("pd2", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: p, from: [a], parallelDo: {outputs: [x, yy], lua: 'function(x) emit.x(x) emit.yy(x) end'}}"#,
        r#"{name: m, from: [p.x], map: {lua: 'function(a,b) return a,b,"m" end'}}"#,
        r#"{name: w1, from: [m], write: {text: {path: out/w1}}}"#,
        r#"{name: w2, from: [p.yy], write: {text: {path: out/w2}}}"#,
    ], Some([4, 4, 1]), 1),
    ("raw-and-combine", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: g, from: [a], groupBy: {key: [1]}}"#,
        r#"{name: c, from: [g], combine: {lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: w1, from: [c], write: {text: {path: out/w1}}}"#,
        r#"{name: w2, from: [g], write: {text: {path: out/w2}}}"#,
    ], None, 1),
    ("packed", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: g, from: [a], groupBy: {key: [1]}}"#,
        r#"{name: c, from: [g], combine: {lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: d, from: [g], combine: {lua: 'function(a,b) return a*b end'}}"#,
        r#"{name: w1, from: [c], write: {text: {path: out/w1}}}"#,
        r#"{name: w2, from: [d], write: {text: {path: out/w2}}}"#,
    ], Some([5, 5, 2]), 1),
    ("sitedata", &[
        r#"{name: i1, read: {text: {paths: [i1.txt]}}}"#,
        r#"{name: i2, read: {text: {paths: [i2.txt]}}}"#,
        r#"{name: i3, read: {text: {paths: [i3.txt]}}}"#,
        r#"{name: i4, read: {text: {paths: [i4.txt]}}}"#,
        r#"{name: a, from: [i1], map: {lua: 'function(a,b) return a,b,"A" end'}}"#,
        r#"{name: w1, from: [a], write: {text: {path: out/w1}}}"#,
        r#"{name: b, from: [i2], map: {lua: 'function(a,b) return a,b,"b" end'}}"#,
        r#"{name: c, from: [i3], map: {lua: 'function(a,b) return a,b,"c" end'}}"#,
        r#"{name: u, from: [b, c], union: {}}"#,
        r#"{name: d, from: [u], map: {lua: 'function(a,b) return a,b,"d" end'}}"#,
        r#"{name: cn, from: [i4], count: {key: [1]}}"#,
        r#"{name: e, from: [cn], map: {lua: 'function(a,b) return a,b,"e" end'}}"#,
        r#"{name: j, from: [a, d, e], coGroup: {key: [1]}}"#,
        r#"{name: f, from: [j], map: {lua: 'function(a,b) return a,b,"f" end'}}"#,
        r#"{name: w2, from: [f], write: {text: {path: out/w2}}}"#,
    ], Some([16, 18, 9]), 2),
    ("distinct", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: d, from: [a], distinct: {}}"#,
        r#"{name: w, from: [d], write: {text: {path: out/w}}}"#,
    ], Some([4, 4, 3]), 1),
    ("reduce", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: r, from: [x], reduce: {lua: 'function(a,b,c,d) return a+c,b+d end'}}"#,
        r#"{name: w, from: [r], write: {text: {path: out/w}}}"#,
    ], None, 1),
    ("top", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: t, from: [a], top: {n: 3, by: [{field: 1}]}}"#,
        r#"{name: w, from: [t], write: {text: {path: out/w}}}"#,
    ], Some([4, 4, 3]), 1),
    ("limit", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: t, from: [a], limit: {n: 3}}"#,
        r#"{name: w, from: [t], write: {text: {path: out/w}}}"#,
    ], Some([2, 2, 2]), 1),
    ("roundrobin-map", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: t, from: [a], roundRobin: {}, partitions: 3}"#,
        r#"{name: m, from: [t], map: {lua: 'function(a,b) return a,b,"m" end'}}"#,
        r#"{name: w, from: [m], write: {text: {path: out/w}}}"#,
    ], Some([3, 3, 2]), 1),
    ("agg-rejoin", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: g, from: [x], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: j, from: [x, g], join: {key: [1], kind: inner, broadcast: never}}"#,
        r#"{name: w, from: [j], write: {text: {path: out/w}}}"#,
    ], None, 2),
    ("side", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: b, read: {text: {paths: [b.txt]}}}"#,
        r#"{name: yy, from: [b], map: {lua: 'function(a,b) return a,b,"yy" end'}}"#,
        r#"{name: m, from: [a], map: {lua: 'function(x) return x end'}, sideInputs: [{name: s, from: yy, as: list}]}"#,
        r#"{name: w, from: [m], write: {text: {path: out/w}}}"#,
    ], Some([3, 3, 2]), 2),
    ("operate", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: o, operate: {lua: 'function() emit(1) end'}, sideInputs: [{name: s, from: x, as: list}]}"#,
        r#"{name: m, from: [o], map: {lua: 'function(a,b) return a,b,"m" end'}}"#,
        r#"{name: w, from: [m], write: {text: {path: out/w}}}"#,
    ], Some([3, 3, 2]), 2),
    ("union-self", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: u, from: [a, a], union: {}}"#,
        r#"{name: g, from: [u], groupBy: {key: [1]}}"#,
        r#"{name: w, from: [g], write: {text: {path: out/w}}}"#,
    ], Some([2, 2, 2]), 1),
    ("union-of-unions", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: b, read: {text: {paths: [b.txt]}}}"#,
        r#"{name: c, read: {text: {paths: [c.txt]}}}"#,
        r#"{name: u, from: [a, b], union: {}}"#,
        r#"{name: v, from: [u, c], union: {}}"#,
        r#"{name: x, from: [v], map: {lua: 'function(a,b) return a,b,"x" end'}}"#,
        r#"{name: w, from: [x], write: {text: {path: out/w}}}"#,
    ], Some([2, 6, 3]), 1),
    ("persist-mid", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a,b) return a,b,"x" end'}, persist: true}"#,
        r#"{name: yy, from: [x], map: {lua: 'function(a,b) return a,b,"yy" end'}}"#,
        r#"{name: g, from: [yy], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: w, from: [g], write: {text: {path: out/w}}}"#,
    ], None, 2),
    ("cse", &[
        r#"{name: a, read: {text: {paths: [a.txt]}}}"#,
        r#"{name: x, from: [a], map: {lua: 'function(a) return a, 1 end'}}"#,
        r#"{name: yy, from: [a], map: {lua: 'function(a) return a, 1 end'}}"#,
        r#"{name: g, from: [x], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: h, from: [yy], reduceBy: {key: [1], lua: 'function(a,b) return a+b end'}}"#,
        r#"{name: w1, from: [g], write: {text: {path: out/w1}}}"#,
        r#"{name: w2, from: [h], write: {text: {path: out/w2}}}"#,
    ], None, 1),
];

fn plan(steps: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a directory");
    for name in ["a", "b", "c", "l", "i1", "i2", "i3", "i4"] {
        std::fs::write(folder.path().join(format!("{name}.txt")), "z\n").expect("a file");
    }
    let lines: String = steps.iter().map(|step| format!("    - {step}\n")).collect();
    let yaml = format!("apiVersion: gleamflow.io/v1alpha1\nkind: GleamFlow\nmetadata: {{name: t}}\nspec:\n  steps:\n{lines}");
    let file = folder.path().join("flow.yaml");
    std::fs::write(&file, yaml).expect("a file");
    let mut command = binary();
    command.args(["plan", "-o", "json"]).arg(&file);
    let ran = finish(command);
    assert_eq!(ran.code, 0, "{steps:?}: {}", ran.stderr);
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

fn has(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "{key} is missing in {value}");
    }
}

#[test]
fn plans_of_flows_that_others_drew_have_the_counts_and_the_form_of_the_contract() {
    for (name, steps, operations, stages) in CASES {
        let plan = plan(steps);
        has(&plan, &["operations", "mscrs", "operates", "decisions"]);
        if let Some(expected) = operations {
            let counted = ["initial", "sunk", "fused"].map(|when| plan["operations"][when].as_u64().expect("a number"));
            assert_eq!(counted, *expected, "{name}");
        }
        let mscrs = plan["mscrs"].as_array().expect("stages");
        assert_eq!(mscrs.len(), *stages, "{name}: {mscrs:?}");
        for mscr in mscrs {
            has(mscr, &["id", "after", "inputs", "outputs"]);
            mscr["inputs"].as_array().expect("channels").iter().for_each(|input| has(input, &["reads", "does", "sideInputs"]));
            for output in mscr["outputs"].as_array().expect("channels") {
                match output.get("pass") {
                    Some(_) => assert_eq!(output.as_object().map(serde_json::Map::len), Some(1), "{output}"),
                    None => has(output, &["group", "reduce", "from"]),
                }
            }
        }
        plan["decisions"].as_array().expect("decisions").iter().for_each(|told| has(told, &["pass", "step", "did", "reason"]));
    }
}

/// SiteData (the paper's figure 5), channel by channel.
#[test]
fn the_stages_of_site_data_are_those_of_the_paper() {
    let (_, steps, ..) = CASES.iter().find(|(name, ..)| *name == "sitedata").expect("it is there");
    let plan = plan(steps);
    let expected = serde_json::json!([
        {"id": "m1", "after": [], "inputs": [{"reads": ["i4"], "does": ["cn"], "sideInputs": []}],
         "outputs": [{"group": "cn", "combine": "cn", "reduce": ["cn"], "from": [0]}]},
        {"id": "m2", "after": ["m1"],
         "inputs": [{"reads": ["i1"], "does": ["a", "j", "w1"], "sideInputs": []},
                    {"reads": ["i2"], "does": ["b", "d", "j"], "sideInputs": []},
                    {"reads": ["i3"], "does": ["c", "d", "j"], "sideInputs": []},
                    {"reads": ["cn"], "does": ["e", "j"], "sideInputs": []}],
         "outputs": [{"group": "j", "reduce": ["j", "f", "w2"], "from": [0, 1, 2, 3]}, {"pass": "w1"}]}
    ]);
    assert_eq!(plan["mscrs"], expected);
}
