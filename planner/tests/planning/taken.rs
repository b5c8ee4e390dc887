//! Graphs taken from elsewhere, each with what `plan -o json` must give, written down from the contract and flumejava.md before the
//! program was asked: text indexing, ranks, joins of all widths, several sinks, barriers, chains of shuffles.

use crate::contract::check;

#[test]
fn word_count_sorted_by_how_often() {
    check(
        "lines: read: TEXT
         words: flatMap: LUA
         cn: count: {key: [1]}
         s: sort: {by: [{field: 2, order: desc}]}
         w: write: SINK",
        "6 6 5 2
         m1: lines > words+cn | cn[cn] > cn <0
         m2 after m1: cn | s > w <0",
    );
}

#[test]
fn tf_idf_has_a_value_of_an_earlier_stage_beside_its_last_one() {
    check(
        "docs: read: TEXT
         one: map: LUA
         nd: reduce: {FOLD}
         words: from: [docs], flatMap: LUA
         tf: count: {key: [1, 2]}
         df: from: [tf], count: {key: [1]}
         j: from: [tf, df], join: {key: [1], broadcast: never}
         score: map: LUA, sideInputs: [{name: total, from: nd, as: value}]
         w: write: SINK",
        "17 17 11 3
         m1: docs > one+nd+words+tf | nd[nd] > nd <0 | tf[tf] > tf <0
         m2 after m1: tf > df+j | df[df] > df <0 | pass j
         m3 after m1,m2: df > j | j | j > j+score+w (nd) <0,1",
    );
}

#[test]
fn two_rounds_of_ranks_tag_the_links_once() {
    check(
        "links: read: TEXT
         r0: map: LUA
         j1: from: [links, r0], join: {key: [1], broadcast: never}
         c1: flatMap: LUA
         r1: reduceBy: {key: [1], FOLD}
         j2: from: [links, r1], join: {key: [1], broadcast: never}
         c2: flatMap: LUA
         r2: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "16 15 12 4
         m1: links > j1+r0 | j1 > j1 <0 | pass j1
         m2 after m1: j1 > c1 | r1[r1] > r1 <0
         m3 after m1,m2: j1 | r1 > j2 | j2 > j2 <0,1
         m4 after m3: j2 > c2 | r2[r2] > r2+w <0",
    );
}

#[test]
fn sinks_on_the_way_are_one_pass() {
    check(
        "r: read: TEXT
         a: map: LUA
         wa: write: SINK
         b: from: [r], filter: LUA
         wb: write: SINK
         g: from: [a], reduceBy: {key: [1], FOLD}
         wg: write: SINK",
        "7 7 3 1
         m1: r > a+b+wa+wb | g[g] > g+wg <0 | pass wa | pass wb",
    );
}

#[test]
fn a_join_of_two_filtered_sides() {
    check(
        "a: read: TEXT
         fa: filter: LUA
         b: read: TEXT
         fb: filter: LUA
         j: from: [fa, fb], join: {key: [1], kind: left, broadcast: never}
         w: write: SINK",
        "7 7 4 1
         m1: a > fa+j | b > fb+j | j > j+w <0,1",
    );
}

#[test]
fn a_three_way_join_with_a_side_that_is_folded() {
    check(
        "o: read: TEXT
         c: read: TEXT
         i: read: TEXT
         t: reduceBy: {key: [1], FOLD}
         j: from: [o, c, t], join: {key: [1], broadcast: never}
         w: write: SINK",
        "8 8 7 2
         m1: i | t[t] > t <0
         m2 after m1: c > j | o > j | t > j | j > j+w <0,1,2",
    );
}

#[test]
fn a_co_group_of_a_source_and_what_is_made_of_it_reads_it_once() {
    check(
        "r: read: TEXT
         x: map: LUA
         j: from: [r, x], coGroup: {key: [1]}
         w: write: SINK",
        "6 6 3 1
         m1: r > j+x | j > j+w <0",
    );
}

#[test]
fn reads_united_into_a_group_are_a_channel_each() {
    check(
        "a: read: TEXT
         b: read: TEXT
         c: read: TEXT
         u: from: [a, b, c], union: {}
         g: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "3 3 2 1
         m1: a | b | c | g[g] > g+w <0,1,2",
    );
}

#[test]
fn a_union_sinks_past_all_that_goes_by_row() {
    check(
        "a: read: TEXT
         b: read: TEXT
         u: from: [a, b], union: {}
         f: filter: LUA
         s: select: {columns: [1]}
         x: flatMap: LUA
         g: groupBy: {key: [1]}
         w: write: SINK",
        "5 8 4 1
         m1: a > f+s+x | b > f+s+x | g > w <0,1",
    );
}

#[test]
fn a_union_for_a_group_and_a_sink_is_read_once() {
    check(
        "a: read: TEXT
         b: read: TEXT
         u: from: [a, b], union: {}
         g: groupBy: {key: [1]}
         wg: write: SINK
         x: from: [u], map: LUA
         wx: write: SINK",
        "4 6 4 1
         m1: a > x+wx | b > x+wx | g > wg <0,1 | pass wx",
    );
}

#[test]
fn a_total_of_the_rows_beside_the_rows_is_a_barrier() {
    check(
        "r: read: TEXT
         tot: reduce: {FOLD}
         x: from: [r], map: LUA, sideInputs: [{name: t, from: tot, as: value}]
         w: write: SINK",
        "5 5 4 2
         m1: r > tot | tot[tot] > tot <0
         m2 after m1: r > x+w (tot) | pass w",
    );
}

#[test]
fn an_operate_in_the_middle_parts_the_stages() {
    check(
        "r: read: TEXT
         g: reduceBy: {key: [1], FOLD}
         o: operate: OPERATE, sideInputs: [{name: s, from: g, as: list}]
         p: map: LUA
         k: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "6 6 5 2
         m1: r | g[g] > g <0
         m2 after m1: o > p | k[k] > k+w <0
         o reads g after m1",
    );
}

#[test]
fn a_sink_per_output_is_a_pass_each() {
    check(
        "r: read: TEXT
         p: parallelDo: {outputs: [a, b, c], lua: 'function(x) emit.a(x) emit.b(x) emit.c(x) end'}
         wa: from: [p.a], write: SINK
         wb: from: [p.b], write: SINK
         wc: from: [p.c], write: SINK",
        "4 4 1 1
         m1: r > p+wa+wb+wc | pass wa | pass wb | pass wc",
    );
}

#[test]
fn a_group_per_output_is_one_stage() {
    check(
        "r: read: TEXT
         p: parallelDo: {outputs: [a, b], lua: 'function(x) emit.a(x) emit.b(x) end'}
         ga: from: [p.a], reduceBy: {key: [1], FOLD}
         wa: write: SINK
         gb: from: [p.b], groupBy: {key: [1]}
         wb: write: SINK",
        "6 6 5 1
         m1: r > p | ga[ga] > ga+wa <0 | gb > wb <0",
    );
}

#[test]
fn a_branch_that_ends_nowhere_is_no_stage() {
    check(
        "r: read: TEXT
         x: map: LUA
         d1: map: LUA
         d2: reduceBy: {key: [1], FOLD}
         w: from: [x], write: SINK",
        "5 2 1 1
         m1: r > x+w | pass w",
    );
}

#[test]
fn what_is_folded_and_persisted_is_still_folded_before_the_shuffle() {
    check(
        "r: read: TEXT
         x: map: LUA
         p: persist: true, reduceBy: {key: [1], FOLD}
         y1: map: LUA
         w: write: SINK",
        "5 5 4 2
         m1: r > x | p[p] > p <0
         m2 after m1: p > y1+w | pass w",
    );
}

#[test]
fn a_top_of_a_union_is_a_top_per_input_first() {
    check(
        "a: read: TEXT
         b: read: TEXT
         u: from: [a, b], union: {}
         t: top: {n: 3, by: [{field: 1}]}
         w: write: SINK",
        "4 5 4 1
         m1: a > t | b > t | t[t] > t+w <0,1",
    );
}

#[test]
fn what_lies_between_a_sort_and_a_limit_runs_behind_the_sort() {
    check(
        "r: read: TEXT
         s: sort: {by: [{field: 1}]}
         x: map: LUA
         l: limit: {n: 3}
         w: write: SINK",
        "4 4 4 2
         m1: r | s > x <0
         m2 after m1: x | l > w <0",
    );
}

#[test]
fn three_shuffles_of_one_source_are_one_pass() {
    check(
        "r: read: TEXT
         a: count: {key: [1]}
         wa: write: SINK
         b: from: [r], reduceBy: {key: [1], FOLD}
         wb: write: SINK
         c: from: [r], sort: {by: [{field: 1}]}
         wc: write: SINK",
        "9 9 7 1
         m1: r > a | a[a] > a+wa <0 | b[b] > b+wb <0 | c > wc <0",
    );
}

#[test]
fn a_join_of_folds_of_two_sources_is_three_stages() {
    check(
        "a: read: TEXT
         ra: reduceBy: {key: [1], FOLD}
         b: read: TEXT
         rb: reduceBy: {key: [1], FOLD}
         j: from: [ra, rb], join: {key: [1], broadcast: never}
         w: write: SINK",
        "9 9 8 3
         m1: a | ra[ra] > ra <0
         m2: b | rb[rb] > rb <0
         m3 after m1,m2: ra > j | rb > j | j > j+w <0,1",
    );
}

#[test]
fn a_join_of_folds_of_one_source_is_two_stages() {
    check(
        "r: read: TEXT
         ra: reduceBy: {key: [1], FOLD}
         rb: from: [r], count: {key: [1]}
         j: from: [ra, rb], join: {key: [1], broadcast: never}
         w: write: SINK",
        "10 10 9 2
         m1: r > rb | ra[ra] > ra <0 | rb[rb] > rb <0
         m2 after m1: ra > j | rb > j | j > j+w <0,1",
    );
}

#[test]
fn a_fold_and_a_source_into_one_sink_write_where_they_are() {
    check(
        "r: read: TEXT
         g: reduceBy: {key: [1], FOLD}
         q: read: TEXT
         u: from: [g, q], union: {}
         w: write: SINK",
        "3 4 3 2
         m1: r | g[g] > g+w <0
         m2: q > w | pass w",
    );
}

#[test]
fn dead_letters_go_to_their_sink_in_the_same_pass() {
    check(
        "r: read: TEXT
         x: map: LUA, onError: {policy: DeadLetter, to: bad}
         w: write: SINK
         bad: write: SINK",
        "3 3 1 1
         m1: r > x+bad+w | pass bad | pass w",
    );
}

#[test]
fn a_broadcast_that_is_asked_for_is_a_map() {
    check(
        "a: read: TEXT
         b: read: TEXT
         j: from: [a, b], join: {key: [1], broadcast: always}
         w: write: SINK",
        "5 2 1 1
         m1: a > j+w (b) | pass w
         l1 loads b",
    );
}

#[test]
fn a_limit_of_an_ordered_union_reads_it_in_order() {
    check(
        "a: read: TEXT
         b: read: TEXT
         u: from: [a, b], union: {ordered: true}
         l: limit: {n: 5}
         w: write: SINK",
        "2 2 2 1
         m1: a | b | l > w <0,1",
    );
    // Where single passes would come in another order, the union is read as it is.
    check(
        "a: read: TEXT
         b: read: TEXT
         u: from: [b, a], union: {ordered: true}
         l: limit: {n: 5}
         w: write: SINK",
        "2 2 2 1
         m1: u | l > w <0",
    );
    check(
        "a: read: TEXT
         x1: map: LUA
         x2: from: [a], map: LUA
         u: from: [x1, x2], union: {ordered: true}
         m: merge: {}
         w: write: SINK",
        "4 4 3 2
         m1: a > x1+x2 | pass x1 | pass x2
         m2 after m1: u | m > w <0",
    );
}

#[test]
fn a_pipe_behind_a_merge_runs_in_the_reducer() {
    check(
        "r: read: TEXT
         m: merge: {}
         p: pipe: {command: wc}
         w: write: SINK",
        "3 3 2 1
         m1: r | m > p+w <0",
    );
}

#[test]
fn rows_dealt_out_go_on_in_the_reducer() {
    check(
        "r: read: TEXT
         rr: partitions: 4, roundRobin: {}
         x: map: LUA
         w: write: SINK",
        "3 3 2 1
         m1: r | rr > x+w <0",
    );
}

#[test]
fn two_sorts_of_one_source_are_two_channels() {
    check(
        "r: read: TEXT
         s1: sort: {by: [{field: 1}]}
         w1: write: SINK
         s2: from: [r], sort: {by: [{field: 1, order: desc}]}
         w2: write: SINK",
        "4 4 4 1
         m1: r | s1 > w1 <0 | s2 > w2 <0",
    );
}

#[test]
fn a_combine_of_ordered_items_stays_behind_the_shuffle() {
    check(
        "r: read: TEXT
         g: groupBy: {key: [1], orderBy: [{field: 1}]}
         c: combine: {FOLD}
         w: write: SINK",
        "3 3 2 1
         m1: r | g > c+w <0",
    );
}

#[test]
fn values_of_values_are_a_stage_after_a_stage() {
    check(
        "r: read: TEXT
         q: reduce: {FOLD}
         x: from: [r], map: LUA, sideInputs: [{name: s, from: q, as: value}]
         k: reduce: {FOLD}
         y1: from: [r], map: LUA, sideInputs: [{name: s, from: k, as: value}]
         w: write: SINK",
        "9 9 7 3
         m1: r > q | q[q] > q <0
         m2 after m1: r > x+k (q) | k[k] > k <0
         m3 after m2: r > y1+w (k) | pass w",
    );
}

#[test]
fn figure_3() {
    check(
        "i1: read: TEXT
         p1: parallelDo: {outputs: [a, b], lua: 'function(x) emit.a(x) emit.b(x) end'}
         i2: read: TEXT
         p2: parallelDo: {outputs: [a, b], lua: 'function(x) emit.b(x) emit.a(x) end'}
         i3: read: TEXT
         p3: parallelDo: {outputs: [a, b], lua: 'function(x) emit.a(x) emit.b(x, 1) end'}
         u1: from: [p1.a, p2.a], union: {}
         g1: groupBy: {key: [1]}
         c1: combine: {FOLD}
         r1: map: LUA
         w1: write: SINK
         u2: from: [p1.b, p2.b, p3.a], union: {}
         g2: groupBy: {key: [1]}
         c2: combine: {FOLD}
         r2: map: LUA
         w2: write: SINK
         w3: from: [p3.b], write: SINK",
        "12 12 7 1
         m1: i1 > p1 | i2 > p2 | i3 > p3+w3 | g1[c1] > c1+r1+w1 <0,1 | g2[c2] > c2+r2+w2 <0,1,2 | pass w3",
    );
}

#[test]
fn a_log_with_its_errors_aside_and_its_top_pages() {
    check(
        "log: read: TEXT
         parse: map: LUA
         err: filter: LUA
         we: write: SINK
         cn: from: [parse], count: {key: [1]}
         t: top: {n: 10, by: [{field: 2, order: desc}]}
         w: write: SINK",
        "10 10 6 2
         m1: log > parse+cn+err+we | cn[cn] > cn <0 | pass we
         m2 after m1: cn > t | t[t] > t+w <0",
    );
}

#[test]
fn a_join_that_is_written_and_folded_ends_its_stage() {
    check(
        "a: read: TEXT
         b: read: TEXT
         j: from: [a, b], join: {key: [1], broadcast: never}
         x: map: LUA
         wx: write: SINK
         y1: from: [j], reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "9 9 7 2
         m1: a > j | b > j | j > j <0,1
         m2 after m1: j > x+wx | y1[y1] > y1+w <0 | pass wx",
    );
}

#[test]
fn a_group_of_folded_rows_by_their_key_is_no_shuffle() {
    check(
        "r: read: TEXT
         a: reduceBy: {key: [1], FOLD}
         g: groupBy: {key: [1]}
         w: write: SINK",
        "4 4 2 1
         m1: r | a[a] > a+g+w <0",
    );
}
