//! How a plan looks to a person: text, DOT, Mermaid.

use planner::{Options, PASSES, PassName};

use crate::form::{graph, planned};

const FLOW: &str = "lines=read; words=fm words lines; counts=count counts words; write show counts; dict=read; odd=pd odd words | dict; write rest odd";

#[track_caller]
fn same(found: &str, expected: &str) {
    assert_eq!(found.trim(), expected.trim(), "found:\n{found}");
}

#[test]
fn text_tells_the_flow_the_decisions_and_the_stages() {
    let plan = planned(FLOW, &Options::default());
    let text = plan::text::render(&planner::prepared(graph(FLOW)), &plan);
    println!("{text}");
    for part in [
        "of\n  dict: read\n",
        "words: flatMap of lines\n",
        "  + counts: sole consumer of its group",
        "needs\n  operations: 7 in the flow",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    same(
        &plan::text::stages(&plan),
        "operations: 7 in the flow, 7 after the rewrites, 3 with those that run in one pass as one; stages: 1
l1
  stores dict, which is needed whole
m1, after l1
  reads lines -> words + counts + odd + rest (beside dict)
  shuffles lines for counts, folded before the shuffle -> counts + show
  writes rest",
    );
}

#[test]
fn dot_and_mermaid_draw_stages_as_boxes() {
    let plan = planned("r=read; x=pd \"X\" r; g=gbk G x; write W g", &Options::default());
    same(
        &plan::dot::render(&plan),
        r#"digraph plan {
  rankdir=LR;
  node [shape=box];
  n0 [label="r\nread"];
  subgraph cluster_m1 {
    label="m1";
    n1 [label="\"X\"\nmap"];
    n2 [label="G\ngroup by 1"];
    n3 [label="W\nwrite"];
  }
  n0 -> n1;
  n1 -> n2;
  n2 -> n3;
}"#,
    );
    same(
        &plan::mermaid::render(&plan),
        r#"flowchart LR
  n0["r<br>read"]
  subgraph m1
    n1["&quot;X&quot;<br>map"]
    n2["G<br>group by 1"]
    n3["W<br>write"]
  end
  n0 --> n1
  n1 --> n2
  n2 --> n3"#,
    );
}

#[test]
fn passes_are_known_by_their_names() {
    for pass in PASSES {
        assert_eq!(pass.as_str().parse::<PassName>(), Ok(pass));
    }
    let wrong = "fuse".parse::<PassName>().unwrap_err().to_string();
    assert!(wrong.starts_with("no pass is called \"fuse\"; the passes are merge-flattens, "), "{wrong}");
}

#[test]
fn intermediates_are_freed_behind_their_last_reader() {
    let plan = planned("r=read; g=gbk G r; x=pd X g; h=gbk H x; write W h; o=op O | x; write V o", &Options::default());
    let readers = plan::readers::readers(&plan);
    let x = plan.graph.collections.values().find(|collection| collection.name == "x").unwrap().id;
    let found: Vec<String> = readers[&x].iter().map(|stage| format!("{stage:?}")).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("Mscr") && found[1].starts_with("Operate"));
}
