//! Each rewrite once where it applies and where it must not, with the reason that it gives.

use plan::{Alone, Do, Format, Group, Key, Op, Source};
use planner::{Options, PassName};

use crate::form::{check, check_with, planned, told, without};

fn op_of<'a>(plan: &'a plan::Plan, step: &str) -> &'a Op {
    &plan.graph.nodes.values().find(|node| node.step == step).unwrap().op
}

#[test]
fn unions_merge_and_single_ones_vanish() {
    let text = "a=read; b=read; c=read; u=fl U a b; v=fl V u c; g=gbk G v; write W g";
    let plan = check(text, [2, 2, 2, 1], "m1: in a; in b; in c; out G > W <0,1,2");
    told(&plan, "merge-flattens", "U", true, "read by the union `V` directly");
    let plan = check("a=read; one=fl One a; g=gbk G one; write W g", [2, 2, 2, 1], "m1: in a; out G > W <0");
    told(&plan, "merge-flattens", "One", true, "a union of one collection");
    let ordered = planned("a=read; u=flo U a; x=pd X u; write W x", &Options::default());
    told(&ordered, "merge-flattens", "U", false, "it gives that an order");
}

#[test]
fn unions_sink_through_element_wise_steps_only() {
    let plan = planned("a=read; b=read; u=fl U a b; x=pd X u; g=gbk G x; write W g", &Options::default());
    told(&plan, "sink-flattens", "X", true, "runs on each of the 2 inputs of the union `U`");
    let ordered = check("a=read; b=read; u=flo U a b; x=pd X u; write W x", [2, 2, 1, 1], "m1: in u > X+W; pass W");
    told(&ordered, "sink-flattens", "X", false, "the order of the union counts");
    let persisted = planned("a=read; b=read; u=fl U a b; x=pd X u !persist; write W x", &Options::default());
    told(&persisted, "sink-flattens", "X", false, "persisted as one");
}

#[test]
fn a_persisted_union_is_stored_as_what_it_is_made_of() {
    check(
        "a=read; b=read; x=pd X a; y=pd Y b; u=fl U x y !persist; z=pd Z u; write W z",
        [4, 6, 4, 3],
        "m1: in a > X; pass x
         m2: in b > Y; pass y
         m3 after m1,m2: in x > Z+W; in y > Z+W; pass W; pass W",
    );
}

#[test]
fn what_nobody_reads_is_dropped_unless_it_is_not_deterministic() {
    let plan = check("r=read; x=pd X r; y=pd Y r; write W y", [3, 2, 1, 1], "m1: in r > Y+W; pass W");
    told(&plan, "dead-code", "X", true, "nobody reads");
    let plan = check("r=read; x=pd X r !nd; y=pd Y r; write W y", [3, 3, 1, 1], "m1: in r > X+Y+W; pass W");
    told(&plan, "dead-code", "X", false, "not deterministic");
    // Its inputs stay with it; what reads it and ends nowhere does not.
    let plan =
        check("r=read; x=pd X r; p=pipe P x !nd; d=pd D p; y=pd Y r; write W y", [5, 4, 1, 1], "m1: in r > X+P+Y+W; pass W");
    told(&plan, "dead-code", "D", true, "nobody reads");
    told(&plan, "dead-code", "P", false, "not deterministic");
}

#[test]
fn equal_steps_are_run_once_unless_they_may_differ() {
    let plan = planned("r=read; x=pd X r as:f; y=pd Y r as:f; write V x; write W y", &Options::default());
    told(&plan, "common-subexpressions", "Y", true, "the same rows as `X`");
    for (flags, why) in [("as:f !nd", "not deterministic"), ("as:math.random", "random numbers")] {
        let text = format!("r=read; x=pd X r {flags}; y=pd Y r {flags}; write V x; write W y");
        let plan = check(&text, [4, 4, 1, 1], "m1: in r > X+V+Y+W; pass V; pass W");
        told(&plan, "common-subexpressions", "Y", false, why);
    }
    let reads = "a=read path:p; b=read path:p; x=pd X a; y=pd Y b; write V x; write W y";
    check(reads, [4, 4, 1, 1], "m1: in a > X+V+Y+W; pass V; pass W");
}

const ROWS: &str = "r=read format:csv fields:a,b,c,d";

#[test]
fn a_filter_moves_before_a_shuffle_that_shows_it_the_same_fields() {
    for (shuffle, over) in
        [("sort S r by:1", "S"), ("reduceby S r key:0,1", "S"), ("hash S r key:2", "S"), ("count S r key:0", "S")]
    {
        let plan = planned(&format!("{ROWS}; s={shuffle}; f=fi F s as:reads:0; write W f"), &Options::default());
        told(&plan, "filter-pushdown", "F", true, &format!("moved before `{over}`"));
        let filter = plan.graph.nodes.values().find(|node| node.step == "F").unwrap();
        assert!(matches!(plan.graph.producer(filter.inputs[0]).op, Op::Read(_)), "{shuffle}");
    }
    check(
        &format!("{ROWS}; q=read; j=join J r q kind:left bc:never; f=fi F j as:reads:0; write W f"),
        [6, 6, 4, 1],
        "m1: in q > J; in r > F+J; out J > J+W <0,1",
    );
    // Every key of the side that is preserved comes out; of an inner join, only some do.
    check(
        &format!("{ROWS}; q=read; j=join J r q kind:left bc:never; f=fi F j as:reads:0!; write W f"),
        [6, 6, 4, 1],
        "m1: in q > J; in r > F+J; out J > J+W <0,1",
    );
    check(
        &format!("{ROWS}; q=read; j=join J r q bc:never; f=fi F j as:reads:0; write W f"),
        [6, 6, 4, 1],
        "m1: in q > J; in r > F+J; out J > J+W <0,1",
    );
    // All that such a filter fails of is no string, as all fields are of a file that gives no types.
    check(
        &format!("{ROWS}; q=read; j=join J r q bc:never; f=fi F j as:reads:0!; write W f"),
        [6, 6, 4, 1],
        "m1: in q > J; in r > F+J; out J > J+W <0,1",
    );
    let turned = "q=read; t=select T r cols:1,0; o=fi O t as:any; j=join J o q bc:never; f=fi F j as:reads:0!; write W f";
    told(&planned(&format!("{ROWS}; {turned}"), &Options::default()), "filter-pushdown", "F", true, "moved before `J`");
}

#[test]
fn a_filter_stays_behind_a_shuffle_that_it_looks_into() {
    let cases = [
        (format!("{ROWS}; s=reduceby S r key:0; f=fi F s as:reads:1; write W f"), "fields that are made there"),
        (format!("{ROWS}; s=reduceby S r key:1; f=fi F s as:reads:0; write W f"), "fields that are made there"),
        (format!("{ROWS}; s=sort S r by:0; f=fi F s as:any; write W f"), "not a plain expression"),
        (format!("{ROWS}; s=sort S r by:0; f=fi F s as:reads:0; write W f; write V s"), "the unfiltered rows are needed too"),
        (format!("{ROWS}; s=sort S r by:7; f=fi F s as:reads:0; write W f"), "without field 8 must fail"),
        (format!("{ROWS}; q=read; s=join S r q kind:full; f=fi F s as:reads:0; write W f"), "every side of a full join"),
        (format!("{ROWS}; q=read; s=join S r q; f=fi F s as:reads:1; write W f"), "more than the key"),
        (format!("{ROWS}; q=read; s=sort S r by:0; f=fi F s as:reads:0 | q; write W f"), "it has side inputs"),
        (
            "r=read format:csv typed:0 fields:a,b; q=read; s=join S r q; f=fi F s as:reads:0!; write W f".into(),
            "a key that the join drops",
        ),
        (
            format!("{ROWS}; q=read; m=pd M r as:keeps:_,0; s=join S m q; f=fi F s as:reads:0!; write W f"),
            "a key that the join drops",
        ),
    ];
    for (text, why) in cases {
        let plan = planned(&text, &Options::default());
        told(&plan, "filter-pushdown", "F", false, why);
    }
}

fn columns_of(plan: &plan::Plan) -> Option<Vec<u32>> {
    match op_of(plan, "r") {
        Op::Read(Source::Files { format: Format::Csv(options), .. }) => options.columns.clone(),
        _ => None,
    }
}

#[test]
fn a_source_reads_only_the_columns_that_are_used() {
    let plan = planned(&format!("{ROWS}; s=select S r cols:3,1; write W s"), &Options::default());
    told(&plan, "column-pushdown", "r", true, "reads 2 of 4 columns");
    assert_eq!(columns_of(&plan), Some(vec![1, 3]));
    assert_eq!(*op_of(&plan, "S"), Op::ParallelDo(Do::Select(vec![1, 0])));

    let plan = planned(&format!("{ROWS}; c=count C r key:2; write W c"), &Options::default());
    assert_eq!(columns_of(&plan), Some(vec![2]));
    let group = plan.graph.nodes.values().find_map(|node| if let Op::Group(group) = &node.op { Some(group) } else { None });
    assert!(matches!(group, Some(Group::ByKey { key: Key::Columns(key), .. }) if *key == [0]));

    // A function keeps the first columns in their places; `select` finds the others behind them.
    let plan = planned(&format!("{ROWS}; x=pd X r as:reads:1; s=select S r cols:3; write V x; write W s"), &Options::default());
    assert_eq!(columns_of(&plan), Some(vec![0, 1, 3]));
    assert_eq!(*op_of(&plan, "S"), Op::ParallelDo(Do::Select(vec![2])));

    // Parquet knows its columns by name, where they were looked at.
    let plan = planned("r=read format:parquet fields:a,b,c; s=select S r cols:2,0; write W s", &Options::default());
    told(&plan, "column-pushdown", "r", true, "reads 2 of 3 columns");
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let Op::Read(Source::Files { format: Format::Parquet { columns, known }, .. }) = op_of(&plan, "r") else { panic!() };
    assert_eq!((columns, known), (&names(&["a", "c"]), &names(&["a", "b", "c"])));
    for (format, why) in [("parquet", "which there are is not known"), ("parquet fields:a,a,b", "which there are is not known")] {
        let plan = planned(&format!("r=read format:{format}; s=select S r cols:0; write W s"), &Options::default());
        told(&plan, "column-pushdown", "r", false, why);
    }

    // A typed column is checked although nobody uses it.
    let plan = planned("r=read format:csv typed:2 fields:a,b,c,d; s=select S r cols:0; write W s", &Options::default());
    assert_eq!(columns_of(&plan), Some(vec![0, 2]));
}

#[test]
fn a_source_reads_all_columns_where_a_use_is_not_known() {
    let cases = [
        (format!("{ROWS}; x=pd X r; write W x"), "could read any field"),
        (format!("{ROWS}; s=select S r cols:0; write W s; write V r"), "`V` takes whole rows"),
        (format!("{ROWS}; s=sort S r by:0; t=select T s cols:0; write W t"), "`S` takes whole rows"),
        (format!("{ROWS}; s=select S r cols:0; x=pd X s | r; write W x"), "as a side input"),
        (format!("{ROWS}; s=select S r cols:0,1,2,3; write W s"), "all are used"),
        ("r=read format:csv; s=select S r cols:0; write W s".into(), "is not known"),
        (format!("{ROWS} !persist; s=select S r cols:0; write W s"), "persisted"),
    ];
    for (text, why) in cases {
        let plan = planned(&text, &Options::default());
        told(&plan, "column-pushdown", "r", false, why);
        assert_eq!(columns_of(&plan), None, "{text}");
    }
}

#[test]
fn a_small_side_is_held_by_every_task() {
    let plan = check(
        "a=read @100000000; b=read @1000; x=pd X a; j=join J x b; write W j",
        [6, 3, 1, 2],
        "l1: in b; pass b
         m1 after l1: in a > X+J+W; pass W",
    );
    told(&plan, "broadcast-join", "J", true, "without a shuffle");
    let Op::ParallelDo(Do::ProbeJoin { big, keys, .. }) = op_of(&plan, "J") else { panic!("no probe") };
    assert_eq!((*big, keys.len()), (0, 2));
    // Whichever rows of the large side have 4.0, one of a small side has it as it shows.
    let json = planned("a=read @99 format:json; b=read @9; j=join J a b; write W j", &Options::default());
    told(&json, "broadcast-join", "J", true, "without a shuffle");
    let wished = planned("a=read; b=read; j=join J a b kind:right bc:always; write W j", &Options::default());
    let Op::ParallelDo(Do::ProbeJoin { big, .. }) = op_of(&wished, "J") else { panic!("no probe") };
    assert_eq!(*big, 1);
}

#[test]
fn a_join_is_shuffled_where_no_side_may_be_held_whole() {
    let cases = [
        ("a=read @9; b=read; j=join J a b kind:left; write W j", "the size of `b` is not known"),
        ("a=read; b=read; j=join J a b; write W j", "is not known"),
        ("a=read @80000000; b=read @70000000; j=join J a b; write W j", "more than 32 MiB"),
        ("a=read @9; b=read @9; j=join J a b kind:full bc:always; write W j", "every side"),
        ("a=read @9; b=read @9; j=join J a b bc:never; write W j", "`broadcast: never`"),
        ("a=read @9; b=read @9; j=join J a b parts:3; write W j", "3 partitions"),
        ("a=read @9; b=read @80000000; j=join J a b kind:left; write W j", "`b` has about 76.3 MiB"),
        (
            "a=read @99 format:json; b=read @9; j=join J a b kind:left; write W j",
            "keys of `a` may be 4 in one row and 4.0 in another",
        ),
        ("a=read @99 format:json; b=read @9 format:json; j=join J a b; write W j", "keys of `a` may be 4"),
        ("a=read @99 format:json; x=pd X a; b=read @9 format:json; j=join J x b bc:always; write W j", "keys of `x` may be 4"),
    ];
    for (text, why) in cases {
        let plan = planned(text, &Options::default());
        told(&plan, "broadcast-join", "J", false, why);
        assert!(plan.graph.nodes.values().any(|node| matches!(node.op, Op::Group(Group::ByLeg { .. }))));
    }
}

#[test]
fn shuffles_that_the_next_one_undoes_are_dropped() {
    for first in ["deal D r", "hash D r key:0", "sort D r by:0"] {
        let plan =
            check(&format!("{ROWS}; d={first}; c=reduceby C d key:0; write W c"), [4, 3, 2, 1], "m1: in r; out C[C] > C+W <0");
        told(&plan, "redundant-groups", "D", true, "the shuffle of `C` undoes");
    }
    let kept = planned("r=read; d=sort D r by:0; l=limit L d n:3; write W l", &Options::default());
    told(&kept, "redundant-groups", "D", false, "heeds the order");
    let kept = planned("r=read; x=pd X r; d=sort D x by:4; c=reduceby C d key:0; write W c", &Options::default());
    told(&kept, "redundant-groups", "D", false, "no field 5");
}

#[test]
fn groups_of_single_rows_are_not_shuffled_again() {
    let plan = check(
        &format!("{ROWS}; c=reduceby C r key:0; f=fi F c; d=reduceby D f key:0; write W d"),
        [6, 5, 2, 1],
        "m1: in r; out C[C] > C+F+D+W <0",
    );
    told(&plan, "redundant-groups", "D", true, "one row already");
    let cases = [
        ("d=reduceby D c key:1", "not that of the group before"),
        ("d=reduceby D c key:0 parts:3", "its own partitions"),
        ("d=count D c key:0", "another form"),
        ("x=pd X c; d=reduceby D x key:0", "may change the key"),
    ];
    for (statement, why) in cases {
        let plan = planned(&format!("{ROWS}; c=reduceby C r key:0; {statement}; write W d"), &Options::default());
        told(&plan, "redundant-groups", "D", false, why);
    }
}

#[test]
fn what_stood_between_shuffles_that_are_dropped_is_looked_at_again() {
    // The sort fails for rows without a field, which dealing would not; what comes after that would.
    let plan = planned(
        "r=read format:json; x=pd X r; s=sort S x by:0; d=deal D s; c=reduceby C d key:0; write W c",
        &Options::default(),
    );
    told(&plan, "redundant-groups", "D", true, "dropped");
    told(&plan, "redundant-groups", "S", true, "the shuffle of `C` undoes");
    assert!(!plan.decisions.iter().any(|told| told.pass == "redundant-groups" && told.step == "S" && !told.did));
}

#[test]
fn what_keeps_the_key_of_single_rows_in_its_place_needs_no_shuffle_either() {
    for between in ["x=pd X c as:keeps:0,_", "x=select X c cols:0,1", "x=pd X c as:keeps:0,1; y=fi Y x; x=pd Z y as:keeps:0,_"] {
        let plan =
            planned(&format!("{ROWS}; c=reduceby C r key:0; {between}; d=reduceby D x key:0; write W d"), &Options::default());
        told(&plan, "redundant-groups", "D", true, "one row already");
        assert_eq!(plan.mscrs.len(), 1, "{between}");
    }
    let cases = [
        ("x=pd X c as:keeps:_,0; d=reduceby D x key:0", "its key is not that of the group before it"),
        ("x=pd X c as:keeps:_,1; d=reduceby D x key:0", "may change the key"),
        ("x=select X c cols:1,0; d=reduceby D x key:0", "its key is not that of the group before it"),
        ("x=fm X c as:keeps:0,_; d=reduceby D x key:0", "make several rows of one"),
    ];
    for (statements, why) in cases {
        let plan = planned(&format!("{ROWS}; c=reduceby C r key:0; {statements}; write W d"), &Options::default());
        told(&plan, "redundant-groups", "D", false, why);
    }
}

#[test]
fn groups_of_single_rows_are_made_of_each_row() {
    let lists = "each row becomes what its group would, without a shuffle";
    let (list, values) = (Alone::List, Alone::Values);
    // The key in another place is unique there, too, but comes out in front.
    for (statements, made) in [
        ("d=gbk D c key:0", list),
        ("d=gbk D c key:0 by:0", list),
        ("x=fi X c; d=gbk D x key:0", list),
        ("x=pd X c as:keeps:_,0; d=gbk D x key:1", list),
        ("x=pd X c as:keeps:_,0; d=reduceby D x key:1", values),
        ("g=gbk G r key:0; d=gbk D g key:0", list),
    ] {
        let plan = planned(&format!("{ROWS}; c=reduceby C r key:0; {statements}; write W d; write V c"), &Options::default());
        told(&plan, "redundant-groups", "D", true, lists);
        let Op::ParallelDo(Do::Alone { made: found, .. }) = op_of(&plan, "D") else { panic!("{statements}") };
        assert_eq!(*found, made, "{statements}");
        assert_eq!(plan.mscrs.len(), 1, "{statements}");
    }
    let cases = [
        ("d=gbk D c key:0 !persist", "they are persisted"),
        ("d=gbk D c key:0 parts:3", "its own partitions"),
        ("d=gbk D c key:0 by:4", "a row without a key field must fail"),
        ("d=gbk D c key:0 !nd", "not deterministic"),
        ("d=gbk D c key:0; e=cv E d; f=cv F d; write X e; write Y f", "folds are not all that reads them"),
        ("d=gbk D c key:1", "not that of the group before"),
    ];
    for (statements, why) in cases {
        let plan = planned(&format!("{ROWS}; c=reduceby C r key:0; {statements}; write W d"), &Options::default());
        told(&plan, "redundant-groups", "D", false, why);
    }
}

#[test]
fn a_join_of_a_join_on_the_same_key_is_one_shuffle() {
    let text = "a=read; b=read; c=read; i=join I a b; j=join J i c; write W j";
    let plan = check(text, [9, 6, 5, 1], "m1: in a > I; in b > I; in c > J; out J > J+W <0,1,2");
    told(&plan, "joined-groups", "J", true, "the join `I` itself");
    let Op::Group(Group::ByLeg { legs: 3 }) = &plan.graph.nodes.values().find(|node| matches!(node.op, Op::Group(_))).unwrap().op
    else {
        panic!("not three legs")
    };
    let cases = [
        ("i=join I a b kind:left; j=join J i c", "filled in"),
        ("i=join I a b kind:left; j=join J c i kind:left", "filled in"),
        ("i=join I a b; j=join J i c key:1", "the keys differ"),
        ("i=join I a b parts:4; j=join J i c", "its own partitions"),
        ("i=join I a b; j=join J i c; write V i", "needed elsewhere"),
        ("i=join I a b bc:never; j=join J i c", "`broadcast`"),
        ("i=reduceby I a; j=join J i c", "folds before it joins"),
    ];
    for (statements, why) in cases {
        let text = format!("a=read; b=read; c=read; {statements}; write W j; write B b");
        told(&planned(&text, &Options::default()), "joined-groups", "J", false, why);
    }
}

#[test]
fn what_is_grouped_by_one_key_is_joined_and_grouped_again_in_one_shuffle() {
    let goldens = [
        ("g=gbk G a; h=gbk H b; j=join J g h", [7, 6, 4, 1], "m1: in a > G; in b > H; out J > J+J+W <0,1"),
        ("g=gbk G a key:1; h=gbk H b; j=join J g h kind:full", [7, 6, 4, 1], "m1: in a > G; in b > H; out J > J+J+W <0,1"),
        ("g=gbk G a; j=cogroup J g b", [6, 6, 4, 1], "m1: in a > G; in b > J; out J > J+J+W <0,1"),
        ("c=cogroup C a b; j=cogroup J c d", [9, 7, 5, 1], "m1: in a > C; in b > C; in d > J; out J > J+J+W <0,1,2"),
        (
            "c=cogroup C a b; g=gbk G d; j=join J c g kind:left",
            [10, 7, 5, 1],
            "m1: in a > C; in b > C; in d > G; out J > J+J+W <0,1,2",
        ),
    ];
    for (statements, counts, expected) in goldens {
        let plan = check(&format!("a=read; b=read; d=read; {statements}; write W j"), counts, expected);
        told(&plan, "joined-groups", "J", true, "same key, one shuffle");
    }
    let cases = [
        ("g=gbk G a; j=join J g b", "other sides are single rows"),
        ("g=gbk G a by:1; j=cogroup J g b", "its lists are in order"),
        ("g=gbk G a; j=cogroup J g b; write V g", "needed elsewhere"),
        ("g=gbk G a parts:3; j=cogroup J g b", "its own partitions"),
        ("g=gbk G a !nd; j=cogroup J g b", "not deterministic"),
        ("g=reduceby G a; j=cogroup J g b", "folds before it joins"),
        ("g=gbk G a; f=fi F g; j=cogroup J f b", "what lies between"),
    ];
    for (statements, why) in cases {
        let plan = planned(&format!("a=read; b=read; d=read; {statements}; write W j"), &Options::default());
        told(&plan, "joined-groups", "J", false, why);
    }
}

#[test]
fn combines_are_lifted_only_where_nothing_sees_the_groups() {
    let cases = [
        ("g=gbk G r by:1; c=cv C g", "orders its items"),
        ("g=gbk G r !persist; c=cv C g", "persisted"),
        ("g=gbk G r; c=cv C g !nd", "not deterministic"),
        ("g=gbk G r; c=cv C g !skip", "partial results"),
        ("g=gbk G r; c=cv C g | q", "side inputs"),
    ];
    for (statements, why) in cases {
        let plan = planned(&format!("r=read; q=read; {statements}; write W c"), &Options::default());
        told(&plan, "lift-combine", "C", false, why);
    }
    let plan = planned("r=read; g=gbk G r; a=cv A g; b=cv B g; x=pd X g; write U a; write V b; write W x", &Options::default());
    told(&plan, "pack-combines", "A", false, "`X` reads the whole groups");
}

#[test]
fn what_is_persisted_fuses_with_nothing_behind_it() {
    let plan = check(
        "r=read; x=pd X r !persist; y=pd Y x; write W y",
        [3, 3, 2, 2],
        "m1: in r > X; pass x
         m2 after m1: in x > Y+W; pass W",
    );
    told(&plan, "producer-consumer-fusion", "Y", false, "persisted");
    check(
        "r=read !persist; x=pd X r; g=gbk G r; write W x; write V g",
        [4, 4, 3, 2],
        "l1: in r; pass r
         m1 after l1: in r > X+W; out G > V <0; pass W",
    );
    check(
        "r=read; g=gbk G r !persist; x=pd X g; write W x",
        [3, 3, 2, 2],
        "m1: in r; out G <0
         m2 after m1: in g > X+W; pass W",
    );
}

#[test]
fn one_pass_over_a_source_serves_every_step_that_reads_it() {
    let text = "r=read; x=pd X r; write V x; s=sort S r; write W s; y=pd Y s | r; write U y";
    check(
        text,
        [6, 6, 3, 2],
        "l1: in r; pass r
         m1 after l1: in r > X+V; out S > W+Y+U <0; pass V",
    );
}

#[test]
fn without_fusion_every_parallel_do_is_a_stage() {
    let off = without(&[PassName::ProducerConsumerFusion, PassName::SiblingFusion]);
    check_with(
        "r=read; x=pd X r; y=pd Y x; write W y",
        &off,
        [3, 3, 3, 3],
        "m1: in r > X; pass x
         m2 after m1: in x > Y; pass y
         m3 after m2: in y > W; pass W",
    );
}

#[test]
fn small_stages_are_said_to_need_one_process() {
    let plan = planned("a=read @1024; write W a; b=read @90000000; write V b; c=read; write U c", &Options::default());
    told(&plan, "local-choice", "W", true, "reads 1 KiB in all");
    told(&plan, "local-choice", "V", false, "not less than 64 MiB");
    told(&plan, "local-choice", "U", false, "unknown size");
}

#[test]
fn stages_that_write_one_sink_merge_only_at_one_depth() {
    let plan = planned("a=read; b=read; s=sort S b; x=pd X s; t=op T | x; u=fl U a t; write W u", &Options::default());
    told(&plan, "map-only-merging", "W", false, "more shuffles lie before one");
}

#[test]
fn a_source_whose_paths_are_rows_waits_for_them() {
    check(
        "p=read; f=pd F p; r=read R f; x=pd X r; write W x",
        [3, 3, 2, 2],
        "m1: in p > F; pass f
         m2 after m1: in r > X+W; pass W",
    );
}

#[test]
fn a_shuffled_join_may_switch_where_one_side_can_wait_for_the_others() {
    let switched = |text: &str| {
        let plan = planned(text, &Options::default());
        told(&plan, "switch-joins", "J", true, "may switch to broadcast at run time");
        let [switch] = &plan.switches[..] else { panic!("{:?}", plan.switches) };
        let stage = plan.mscrs.iter().find(|mscr| mscr.id == switch.stage).unwrap();
        let reads = switch.late.iter().flat_map(|channel| &stage.inputs[*channel].reads);
        (switch.big, reads.map(|id| plan.graph.collection(*id).name.clone()).collect::<Vec<_>>().join(","))
    };
    let is = |text, big, late: &str| assert_eq!(switched(text), (big, late.to_owned()), "{text}");
    is("a=read; b=read; j=join J a b; write W j", 0, "a");
    is("a=read; b=read; j=join J a b kind:left; write W j", 0, "a");
    is("a=read; b=read; j=join J a b kind:right; write W j", 1, "b");
    // The largest waits; one of unknown size may be larger than any.
    is("a=read @90000000; b=read @80000000; c=read @95000000; j=join J a b c; write W j", 2, "c");
    is("a=read @90000000; b=read; j=join J a b; write W j", 1, "b");
    // What comes from a shuffle is measured before the sources of this stage are read.
    is("a=read; s=reduceby S a key:0; b=read; j=join J s b; write W j", 1, "b");
    // All that a union waits for.
    is("a=read; b=read; c=read; u=fl U a b; j=join J u c kind:left; write W j", 0, "a,b");
}

#[test]
fn a_join_that_can_only_be_shuffled_says_why() {
    let cases = [
        ("a=read; b=read; j=join J a b kind:full; write W j", "keeps unmatched rows of every side"),
        ("a=read; b=read; j=join J a b bc:never; write W j", "`broadcast: never`"),
        ("a=read; b=read; j=join J a b parts:3; write W j", "is to have 3 partitions"),
        ("a=read; x=pd X a; y=pd Y a; j=join J x y; write W j", "comes out of the same pass as another side"),
        ("a=read; s=reduceby S a key:0; b=read; j=join J s b kind:left; write W j", "is shuffled while it is made"),
        ("a=read; b=read; u=fl U a a; j=join J u b kind:left; write W j", "is made on several ways in one pass"),
    ];
    for (text, why) in cases {
        let plan = planned(text, &Options::default());
        told(&plan, "switch-joins", "J", false, why);
        assert!(plan.switches.is_empty(), "{text}");
    }
    let plan = planned("a=read @9; b=read @9; j=join J a b; write W j", &Options::default());
    assert!(plan.decisions.iter().all(|told| told.pass != "switch-joins"), "a broadcast has nothing to switch");
}
