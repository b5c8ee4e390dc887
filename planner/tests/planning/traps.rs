//! The traps that a literal reading of the paper falls into (a to j), one golden each.

use plan::{Group, Op, Plan, check_plan};
use planner::{Options, PassName};

use crate::form::{check, planned, told, without};

#[test]
fn a_group_and_a_join_with_its_own_source_are_two_stages() {
    let plan = check(
        "r=read; m=pd M r; g=gbk G m; c=cv C g; j=cogroup J m c; write W j",
        [8, 8, 6, 2],
        "m1: in r > M+J; out G[C] > C <0; pass J
         m2 after m1: in c > J; in J; out J > J+W <0,1",
    );
    told(&plan, "mscr-fusion", "J", false, "more shuffles lie before it");
    told(&plan, "stages", "M", true, "runs once, in the stage of `G`");
}

#[test]
fn b_a_mapper_whose_other_output_comes_back_is_a_stage_of_its_own() {
    let plan = check(
        "r=read; q=read; (a,b)=pd A r; s=pd S q | b; u=fl U a s; g=gbk G u; write W g",
        [4, 4, 4, 2],
        "m1: in r > A; pass a; pass b
         m2 after m1: in q > S; in a; out G > W <0,1",
    );
    told(&plan, "stages", "A", false, "does not run in the stage of the shuffle of `G`");
}

#[test]
fn c_siblings_with_a_side_input_between_them_are_not_fused() {
    let plan = check(
        "r=read; a=pd A r; b=pd B r | a; write W b",
        [3, 3, 2, 2],
        "m1: in r > A; pass a
         m2 after m1: in r > B+W; pass W",
    );
    told(&plan, "sibling-fusion", "B", false, "a side input of one is made from what the other makes");
}

#[test]
fn c_a_consumer_beside_what_its_producer_makes_is_not_fused() {
    let plan = check(
        "r=read; (a,x)=pd A r; b=pd B a | x; write W b",
        [3, 3, 2, 2],
        "m1: in r > A; pass a; pass x
         m2 after m1: in a > B+W; pass W",
    );
    told(&plan, "producer-consumer-fusion", "B", false, "side inputs is made from what the other makes");
}

#[test]
fn d_a_second_consumer_of_the_group_stops_the_lifting() {
    let plan = check("r=read; g=gbk G r; c=cv C g; x=pd X g; write W c; write V x", [5, 5, 2, 1], "m1: in r; out G > C+W+X+V <0");
    told(&plan, "lift-combine", "C", false, "not lifted: the group has a second consumer, `X`");
}

#[test]
fn e_the_earliest_of_equal_collections_is_the_boundary() {
    let plan = check(
        "r=read; g=gbk G r; x=pd X g; y=pd Y x; z=pd Z y; h=gbk H z; write W h",
        [6, 6, 5, 2],
        "m1: in r; out G > X <0
         m2 after m1: in x > Y+Z; out H > W <0",
    );
    told(&plan, "fusion-blocks", "X", true, "of 3 results this is the smallest, or the first");
}

#[test]
fn e_a_smaller_later_collection_is_the_boundary() {
    check(
        "r=read; g=gbk G r; x=pd X g; y=pd Y x ~0.5; z=pd Z y ~0.9; h=gbk H z; write W h",
        [6, 6, 4, 2],
        "m1: in r; out G > X+Y+Z <0
         m2 after m1: in z; out H > W <0",
    );
    check(
        "r=read; g=gbk G r; x=pd X g; y=pd Y x ~0.5; z=pd Z y; h=gbk H z; write W h",
        [6, 6, 5, 2],
        "m1: in r; out G > X+Y <0
         m2 after m1: in y > Z; out H > W <0",
    );
}

#[test]
fn f_a_mapper_of_two_depths_runs_once_in_the_earlier_stage() {
    check(
        "r=read; x=pd X r; y=pd Y x; g=gbk G x; z=pd Z g; u=fl U y z; h=gbk H u; write W h",
        [6, 6, 5, 2],
        "m1: in r > X+Y; out G > Z <0; pass y
         m2 after m1: in y; in z; out H > W <0,1",
    );
}

#[test]
fn g_a_union_with_itself_keeps_both_edges() {
    let plan = check("r=read; u=fl U r r; g=gbk G u; write W g", [2, 2, 2, 1], "m1: in r; out G > W <0");
    let union = plan.graph.nodes.values().find(|node| node.step == "U").unwrap();
    assert_eq!(union.inputs.len(), 2);
    check("r=read; u=fl U r r; x=pd X u; g=gbk G x; write W g", [3, 4, 3, 1], "m1: in r > X+X; out G > W <0");
}

#[test]
fn h_a_write_of_a_boundary_collection_runs_where_it_is_made() {
    check(
        "r=read; g=gbk G r; c=cv C g; write W c; x=pd X c; h=gbk H x; write V h",
        [6, 6, 5, 2],
        "m1: in r; out G[C] > C+W <0
         m2 after m1: in c > X; out H > V <0",
    );
}

#[test]
fn i_a_union_written_is_one_sink_with_several_writers() {
    let plan = check(
        "a=read; b=read; x=pd X a; y=pd Y b; u=fl U x y; write W u",
        [3, 4, 2, 1],
        "m1: in a > X+W; in b > Y+W; pass W; pass W",
    );
    let json = plan::json::render(&plan);
    assert_eq!(json["mscrs"][0]["outputs"], serde_json::json!([{"pass": "W"}]));
    told(&plan, "map-only-merging", "W", true, "one stage");
}

#[test]
fn j_a_reducer_beside_what_its_own_stage_makes_is_a_stage_of_its_own() {
    let plan = check(
        "r=read; (a,b)=pd A r; g=gbk G a; x=pd X g | b; write W x",
        [4, 4, 3, 2],
        "m1: in r > A; out G <0; pass b
         m2 after m1: in g > X+W; pass W",
    );
    told(&plan, "stages", "X", false, "one of its side inputs comes out of that very stage");
    check(
        "r=read; g=gbk G r; h=sort H r; x=pd X g | h; write W x",
        [4, 4, 3, 2],
        "m1: in r; out G <0; out H <0
         m2 after m1: in g > X+W; pass W",
    );
}

#[test]
fn j_a_lifted_combine_stays_when_what_follows_it_must_wait() {
    let plan = check(
        "r=read; (a,b)=pd A r; g=gbk G a; c=cv C g; x=pd X c | b; write W x",
        [5, 5, 4, 2],
        "m1: in r > A; out G[C] > C <0; pass b
         m2 after m1: in c > X+W; pass W",
    );
    told(&plan, "stages", "C", false, "not fused with it");
}

fn shuffles_of_sides(plan: &Plan) -> usize {
    plan.graph.nodes.values().filter(|node| matches!(node.op, Op::Group(Group::ByLeg { .. }))).count()
}

#[test]
fn k_what_comes_out_of_a_join_is_said_by_one_step() {
    for (one, other, shuffles) in [
        ("join J r q bc:never", "cogroup K r q", 2),
        ("join J r q bc:never", "join K r q bc:never kind:left", 2),
        ("join J r q bc:never", "join K r q bc:never", 1),
        ("cogroup J r q", "cogroup K r q", 1),
    ] {
        let plan = planned(&format!("r=read; q=read; j={one}; k={other}; write W j; write V k"), &Options::default());
        assert_eq!(check_plan(&plan), Vec::<String>::new(), "{one}, {other}");
        assert_eq!(shuffles_of_sides(&plan), shuffles, "{one}, {other}");
    }
}

#[test]
fn k_what_comes_out_of_a_join_is_said_where_it_is_shuffled() {
    let late = "r=read; j=join J r r bc:never; s=pd S j; k=join K j r bc:never; m=pd M k | s; write W m";
    let plan = planned(late, &Options::default());
    assert_eq!(check_plan(&plan), Vec::<String>::new());
    told(&plan, "stages", "K", false, "not fused with it");
    for text in ["r=read; j=join J r r bc:never; g=gbk G j; write W g", "r=read; c=count C r key:0; g=gbk G c; write W g"] {
        let plan = planned(text, &without(&[PassName::FusionBlocks]));
        assert_eq!(check_plan(&plan), Vec::<String>::new(), "{text}");
    }
}
