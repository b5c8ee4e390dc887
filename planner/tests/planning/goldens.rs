//! The figures of the FlumeJava paper, word count, and the contract's JSON.

use planner::Options;

use crate::form::{check, planned};

pub(crate) const WORD_COUNT: &str = "l=read; s=pd Split l; o=pd One s; g=gbk Gbk o; c=cv Sum g; f=pd Fmt c; write Out f";

pub(crate) const FIGURE_2: &str = "
    in=read; (a0,a1)=pd A in; b=pd B a0; write wB b; (c0,c1)=pd C a0; d=pd D a1; op Op | a1; op Later | c0 c1 d";

pub(crate) const FIGURE_4: &str = "
    o=op Op1; i2=read; i3=read; i4=read
    (m20,m21)=pd M2 i2; m3=pd M3 i3; (m40,m41)=pd M4 i4
    f1=fl Fltn1 o m20; g1=gbk GBK1 f1
    f2=fl Fltn2 m21 m3 m40; g2=gbk GBK2 f2; c2=cv CV2 g2; r2=pd R2 c2
    f3=fl Fltn3 m40; g3=gbk GBK3 f3; r3=pd R3 g3
    op Later | g1 r2 r3 m20 m41";

pub(crate) const SITE_DATA: &str = "
    input1=read; input2=read; input3=read; input4=read
    a=pd A input1; write Write1 a; b=pd B input2; c=pd C input3; u=fl Fltn b c; d=pd D u
    cm=pd C:Map input4; cg=gbk C:GBK cm; cc=cv C:CV cg; e=pd E cc
    j=cogroup J a d e; f=pd F j; write Write2 f";

#[test]
fn word_count() {
    check(WORD_COUNT, [6, 6, 3, 1], "m1: in l > Split+One; out Gbk[Sum] > Sum+Fmt+Out <0");
}

#[test]
fn figure_2_is_one_parallel_do() {
    check(FIGURE_2, [5, 5, 1, 1], "m1: in in > A+B+C+D+wB; pass a1; pass c0; pass c1; pass d; pass wB");
}

#[test]
fn figure_4_is_one_stage_of_four_input_and_five_output_channels() {
    check(
        FIGURE_4,
        [9, 9, 8, 1],
        "m1 after Op1: in o; in i2 > M2; in i3 > M3; in i4 > M4; \
         out GBK1 <0,1; out GBK2[CV2] > CV2+R2 <1,2,3; out GBK3 > R3 <3; pass m20; pass m41",
    );
}

#[test]
fn figure_5_site_data_is_two_stages() {
    let plan = check(
        SITE_DATA,
        [16, 18, 9, 2],
        "m1: in input4 > C:Map; out C:GBK[C:CV] > C:CV <0
         m2 after m1: in input1 > A+J+Write1; in input2 > B+D+J; in input3 > C+D+J; in cc > E+J; \
         out J > J+F+Write2 <0,1,2,3; pass Write1",
    );
    let blocks = plan.decisions.iter().filter(|told| told.pass == "fusion-blocks" && told.did);
    assert_eq!(blocks.map(|told| told.step.as_str()).collect::<Vec<_>>(), ["C:CV"]);
    let stored = plan.materialized.iter().map(|id| plan.graph.collection(*id).name.as_str());
    assert_eq!(stored.collect::<Vec<_>>(), ["cc"]);
}

#[test]
fn json_is_the_contract() {
    let text = "lines=read; words=fm words lines; pairs=pd pairs words; counts=reduceby counts pairs; write show counts";
    let mut json = plan::json::render(&planned(text, &Options::default()));
    let decisions = json.as_object_mut().unwrap().remove("decisions").unwrap();
    let functions = json.as_object_mut().unwrap().remove("functions").unwrap();
    let steps: Vec<_> = functions.as_array().unwrap().iter().map(|function| function["step"].clone()).collect();
    assert_eq!(steps, ["words", "pairs", "counts"]);
    assert_eq!(functions[2]["tier"], "perRow", "{functions:#}");
    assert_eq!(
        json,
        serde_json::json!({
            "operations": {"initial": 5, "sunk": 5, "fused": 3},
            "mscrs": [{"id": "m1", "after": [],
                "inputs": [{"reads": ["lines"], "does": ["words", "pairs"], "sideInputs": []}],
                "outputs": [{"group": "counts", "combine": "counts", "reduce": ["counts", "show"], "from": [0]}]}],
            "operates": [],
            "loads": [],
        })
    );
    let lifted =
        serde_json::json!({"pass": "lift-combine", "step": "counts", "did": true, "reason": "sole consumer of its group"});
    assert!(decisions.as_array().unwrap().contains(&lifted), "{decisions:#}");
}

#[test]
fn json_names_passes_side_inputs_and_operates_by_step() {
    let text = "a=read; b=read; s=pd S b; x=pd X a | s; write W x; g=gbk G x; y=pd Y g; o=op O | y; z=pd Z o; write V z";
    let mut json = plan::json::render(&planned(text, &Options::default()));
    json.as_object_mut().unwrap().remove("decisions");
    json.as_object_mut().unwrap().remove("functions");
    assert_eq!(
        json,
        serde_json::json!({
            "operations": {"initial": 7, "sunk": 7, "fused": 5},
            "mscrs": [
                {"id": "m1", "after": [],
                 "inputs": [{"reads": ["b"], "does": ["S"], "sideInputs": []}],
                 "outputs": [{"pass": "s"}]},
                {"id": "m2", "after": ["m1"],
                 "inputs": [{"reads": ["a"], "does": ["X", "W"], "sideInputs": ["s"]}],
                 "outputs": [{"group": "G", "reduce": ["Y"], "from": [0]}, {"pass": "W"}]},
                {"id": "m3", "after": ["m2"],
                 "inputs": [{"reads": ["o"], "does": ["Z", "V"], "sideInputs": []}],
                 "outputs": [{"pass": "V"}]},
            ],
            "operates": [{"step": "O", "reads": ["y"], "after": ["m2"]}],
            "loads": [],
        })
    );
}
