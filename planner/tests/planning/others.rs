//! Graphs from the tests of Beam and Crunch, as flumejava.md describes them, with what our stages make of them.

use planner::PassName;

use crate::form::{check, check_with, counts, graph, planned, short, told, without};

#[test]
fn beam_single_environment_becomes_a_single_stage() {
    check("r=read; p=pd ParDo r; w=pd Window p; write W w", [3, 3, 1, 1], "m1: in r > ParDo+Window+W; pass W");
}

#[test]
fn beam_a_group_between_two_par_dos_is_one_map_reduce() {
    check("r=read; p=pd Pre r; g=gbk G p; q=pd Post g; write W q", [4, 4, 3, 1], "m1: in r > Pre; out G > Post+W <0");
}

#[test]
fn beam_a_union_fuses_into_every_producing_stage() {
    check(
        "a=read; b=read; u=fl U a b; x=pd X u; y=pd Y u; write V x; write W y",
        [4, 8, 2, 1],
        "m1: in a > X+V+Y+W; in b > X+V+Y+W; pass V; pass W; pass V; pass W",
    );
}

#[test]
fn beam_a_consumer_that_cannot_take_a_path_reads_the_union_itself() {
    // A pipe sees whole partitions: it reads the union; the other consumer is in both producing stages.
    let plan = check(
        "a=read; b=read; x=pd X a; y=pd Y b; u=fl U x y; p=pipe P u !nd; z=pd Z u; write V p; write W z",
        [6, 8, 3, 2],
        "m1: in a > X+Z+W; in b > Y+Z+W; pass x; pass W; pass y; pass W
         m2 after m1: in u > P+V; pass V",
    );
    told(&plan, "sink-flattens", "P", false, "a pipe sees whole partitions");
}

#[test]
fn beam_a_union_of_opaque_results_does_not_fuse_with_them() {
    check(
        "o=op O; q=op Q; u=fl U o q; x=pd X u; write W x",
        [2, 4, 2, 1],
        "m1 after O,Q: in o > X+W; in q > X+W; pass W; pass W",
    );
}

#[test]
fn beam_a_side_input_roots_a_new_stage() {
    check(
        "r=read; q=read; s=pd Side q; l=pd Left r; m=pd Right r | s; write V l; write W m",
        [5, 5, 2, 2],
        "m1: in q > Side; pass s
         m2 after m1: in r > Left+Right+V+W; pass V; pass W",
    );
}

#[test]
fn beam_a_source_read_as_a_side_input_is_stored_first() {
    let plan = check(
        "r=read; q=read; m=pd M r | q; write W m",
        [2, 2, 1, 2],
        "l1: in q; pass q
         m1 after l1: in r > M+W; pass W",
    );
    told(&plan, "stages", "q", false, "a pass of its own");
}

#[test]
fn beam_composites_do_not_matter() {
    let flat = "r=read; i=count C r key:0; write W i";
    check(flat, [4, 4, 3, 1], "m1: in r > C; out C[C] > C+W <0");
}

const THREE_COMBINES: &str = "r=read; a=reduceby A r; b=reduceby B r; c=reduceby C r; write U a; write V b; write W c";

#[test]
fn beam_three_combines_of_one_input_are_packed_to_one() {
    let plan = check(THREE_COMBINES, [9, 7, 2, 1], "m1: in r; out A[A+B+C] > A+B+C+U+V+W <0");
    told(&plan, "pack-combines", "A", true, "3 combines");
    assert_eq!(plan::json::render(&plan)["mscrs"][0]["outputs"][0]["combine"], serde_json::json!(["A", "B", "C"]));
}

#[test]
fn beam_three_combines_stay_three_without_the_pass() {
    let options = without(&[PassName::PackCombines, PassName::CommonSubexpressions]);
    check_with(THREE_COMBINES, &options, [9, 9, 6, 1], "m1: in r; out A[A] > A+U <0; out B[B] > B+V <0; out C[C] > C+W <0");
}

#[test]
fn beam_common_keys_with_nothing_are_one() {
    let plan = check(
        "r=read; a=pd A r as:key; b=pd B r as:key; c=pd C r as:key; write U a; write V b; write W c",
        [6, 4, 1, 1],
        "m1: in r > A+U+V+W; pass U; pass V; pass W",
    );
    told(&plan, "common-subexpressions", "B", true, "the same rows as `A`");
}

#[test]
fn crunch_two_groups_of_one_input_are_one_stage() {
    check(
        "r=read; x=pd X r; y=pd Y r; g=gbk G x; h=gbk H y; write V g; write W h",
        [6, 6, 5, 1],
        "m1: in r > X+Y; out G > V <0; out H > W <0",
    );
}

#[test]
fn crunch_groups_of_different_inputs_stay_apart() {
    check(
        "r=read; q=read; g=gbk G r; h=gbk H q; write V g; write W h",
        [4, 4, 4, 2],
        "m1: in q; out H > W <0
         m2: in r; out G > V <0",
    );
}

#[test]
fn crunch_plans_do_not_depend_on_the_order_of_steps() {
    let one = planned("a=read; b=read; x=pd X a; y=pd Y b; write V x; write W y", &without(&[]));
    let other = planned("b=read; y=pd Y b; write W y; a=read; x=pd X a; write V x", &without(&[]));
    assert_eq!(one, other);
}

#[test]
fn scoobi_word_count_with_a_top_is_two_stages() {
    check(
        "l=read; w=fm Words l; c=count Count w; t=gbk Top c key:1; f=cv Top t; write W f",
        [7, 7, 5, 2],
        "m1: in l > Words+Count; out Count[Count] > Count <0
         m2 after m1: in c; out Top[Top] > Top+W <0",
    );
}

#[test]
fn two_hundred_and_seven_operations_are_one_stage() {
    // The paper's fleet has one of 207 stages that became 1: here, as many operations over one input.
    let mut text = String::from("r=read\n");
    for branch in 0..41 {
        text.push_str(&format!(
            "a{branch}=pd A{branch} r; g{branch}=gbk G{branch} a{branch}; c{branch}=cv C{branch} g{branch}\n"
        ));
        text.push_str(&format!("f{branch}=pd F{branch} c{branch}; write W{branch} f{branch}\n"));
    }
    text.push_str("x=pd X r; write V x");
    let plan = planned(&text, &without(&[]));
    assert_eq!(counts(&plan), [207, 207, 83, 1], "{}", short(&plan));
}

#[test]
fn a_flow_without_anything_to_do_has_no_stages() {
    let plan = planner::plan(graph("r=read"), String::new(), &without(&[]));
    assert_eq!(counts(&plan), [0, 0, 0, 0]);
    assert!(plan.graph.nodes.is_empty());
}
