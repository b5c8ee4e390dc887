//! More graphs of `plan -o json`, each written down from the contract and flumejava.md before the program was asked: variants of the
//! paper's figures, unions of unions, barriers between stages, diamonds, sinks on the way, what nobody reads.

use crate::contract::check;

#[test]
fn figure_2_with_an_output_that_is_grouped_and_written() {
    check(
        "in: read: TEXT
         a: parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x) end'}
         b: from: [a.p0], map: LUA
         wb: write: SINK
         g: from: [a.p1], reduceBy: {key: [1], FOLD}
         wg: write: SINK
         w1: from: [a.p1], write: SINK",
        "7 7 3 1
         m1: in > a+b+w1+wb | g[g] > g+wg <0 | pass w1 | pass wb",
    );
}

#[test]
fn figure_4_with_a_group_behind_a_group() {
    check(
        "i2: read: TEXT
         m2: parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x) end'}
         i4: read: TEXT
         m4: parallelDo: {outputs: [p0, p1], lua: 'function(x) emit.p0(x) emit.p1(x, 1) end'}
         g1: from: [m2.p0], groupBy: {key: [1]}
         r1: map: LUA
         f2: from: [m2.p1, m4.p0], union: {}
         g2: groupBy: {key: [1]}
         c2: combine: {FOLD}
         w2: write: SINK
         f3: from: [m4.p1, r1], union: {}
         g3: groupBy: {key: [1]}
         w3: write: SINK",
        "9 9 8 2
         m1: i2 > m2 | i4 > m4 | g1 > r1 <0 | g2[c2] > c2+w2 <0,1 | pass m4.p1
         m2 after m1: m4.p1 | r1 | g3 > w3 <0,1",
    );
}

#[test]
fn site_data_with_longer_sides_and_a_sort() {
    check(
        "i1: read: TEXT
         a: map: LUA
         w1: write: SINK
         i2: read: TEXT
         i3: read: TEXT
         fl: from: [i2, i3], union: {}
         d: filter: LUA
         d2: map: LUA
         i4: read: TEXT
         p: map: LUA
         rb: reduceBy: {key: [1], FOLD}
         e: map: LUA
         e2: map: LUA
         j: from: [a, d2, e2], coGroup: {key: [1]}
         f: map: LUA
         s: sort: {by: [{field: 1}]}
         w2: write: SINK",
        "17 20 12 3
         m1: i4 > p | rb[rb] > rb <0
         m2 after m1: i1 > a+j+w1 | i2 > d+d2+j | i3 > d+d2+j | rb > e+e2+j | j > j <0,1,2,3 | pass w1
         m3 after m2: j > f | s > w2 <0",
    );
}

#[test]
fn both_sides_of_a_join_come_from_one_fold() {
    check(
        "r: read: TEXT
         c: reduceBy: {key: [1], FOLD}
         x: map: LUA
         y1: from: [c], map: LUA
         j: from: [x, y1], join: {key: [1], broadcast: never}
         w: write: SINK",
        "9 9 5 2
         m1: r | c[c] > c <0
         m2 after m1: c > x+j+y1 | j > j+w <0",
    );
}

#[test]
fn a_group_behind_a_union_and_one_behind_a_union_of_it() {
    check(
        "a: read: TEXT
         b: read: TEXT
         c: read: TEXT
         u1: from: [a, b], union: {}
         g1: reduceBy: {key: [1], FOLD}
         w1: write: SINK
         u2: from: [u1, c], union: {}
         g2: reduceBy: {key: [1], FOLD}
         w2: write: SINK",
        "6 6 4 1
         m1: a | b | c | g1[g1] > g1+w1 <0,1 | g2[g2] > g2+w2 <0,1,2",
    );
}

#[test]
fn a_group_behind_each_copy_of_a_step() {
    check(
        "a: read: TEXT
         b: read: TEXT
         c: read: TEXT
         u: from: [a, b], union: {}
         x: map: LUA
         v: from: [x, c], union: {}
         g: reduceBy: {key: [1], FOLD}
         wg: write: SINK
         h: from: [x], groupBy: {key: [1]}
         wh: write: SINK",
        "6 7 6 1
         m1: a > x | b > x | c | g[g] > g+wg <0,1,2 | h > wh <0,1",
    );
}

#[test]
fn an_output_that_nobody_reads_is_no_result() {
    check(
        "r: read: TEXT
         p: parallelDo: {outputs: [a, b, c], lua: 'function(x) emit.a(x) emit.b(x) emit.c(x) end'}
         wa: from: [p.a], write: SINK
         g: from: [p.b], groupBy: {key: [1]}
         wg: write: SINK",
        "4 4 3 1
         m1: r > p+wa | g > wg <0 | pass wa",
    );
}

#[test]
fn side_inputs_of_two_stages_are_barriers_for_a_third() {
    check(
        "r: read: TEXT
         a: reduceBy: {key: [1], FOLD}
         q: read: TEXT
         b: count: {key: [1]}
         x: from: [r], map: LUA, sideInputs: [{name: s, from: a, as: map}, {name: t, from: b, as: map}]
         g: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "9 9 8 3
         m1: q > b | b[b] > b <0
         m2: r | a[a] > a <0
         m3 after m1,m2: r > x (a,b) | g[g] > g+w <0",
    );
}

#[test]
fn a_reducer_with_a_side_input_of_another_stage_stays_in_its_own() {
    check(
        "q: read: TEXT
         s: map: LUA
         r: read: TEXT
         g: groupBy: {key: [1]}
         x: map: LUA, sideInputs: [{name: s, from: s, as: list}]
         w: write: SINK",
        "4 4 3 2
         m1: q > s | pass s
         m2 after m1: r | g > x+w (s) <0",
    );
}

#[test]
fn an_operate_behind_an_operate_waits_for_the_stage_before_both() {
    check(
        "r: read: TEXT
         g: reduceBy: {key: [1], FOLD}
         o1: operate: OPERATE, sideInputs: [{name: s, from: g, as: list}]
         o2: operate: OPERATE, sideInputs: [{name: s, from: o1, as: list}]
         x: map: LUA
         w: write: SINK",
        "4 4 3 2
         m1: r | g[g] > g <0
         m2 after m1: o2 > x+w | pass w
         o1 reads g after m1
         o2 reads o1 after m1",
    );
}

#[test]
fn persisted_groups_are_whole_and_folded_later() {
    check(
        "r: read: TEXT
         g: persist: true, groupBy: {key: [1]}
         c: combine: {FOLD}
         w: write: SINK",
        "3 3 2 2
         m1: r | g <0
         m2 after m1: g > c+w | pass w",
    );
}

#[test]
fn a_sort_a_limit_and_a_top_are_a_stage_each() {
    check(
        "r: read: TEXT
         s: sort: {by: [{field: 1}]}
         l: limit: {n: 10}
         x: map: LUA
         t: top: {n: 3, by: [{field: 1}]}
         w: write: SINK",
        "7 7 6 3
         m1: r | s <0
         m2 after m1: s | l > x <0
         m3 after m2: x > t | t[t] > t+w <0",
    );
}

#[test]
fn groups_that_are_a_side_input_elsewhere_are_whole() {
    check(
        "r: read: TEXT
         g: groupBy: {key: [1]}
         c: combine: {FOLD}
         w: write: SINK
         q: read: TEXT
         x: map: LUA, sideInputs: [{name: s, from: g, as: list}]
         wx: write: SINK",
        "5 5 3 2
         m1: r | g > c+w <0
         m2 after m1: q > x+wx (g) | pass wx",
    );
}

#[test]
fn what_is_placed_for_two_readers_is_a_stage_before_both() {
    check(
        "r: read: TEXT
         pt: partition: {key: [1]}
         p: pipe: {command: cat}
         mg: merge: {}
         w: write: SINK
         rr: from: [pt], partitions: 3, roundRobin: {}
         wr: write: SINK",
        "6 6 6 3
         m1: r | pt > p <0
         m2 after m1: p | mg > w <0
         m3 after m1: pt | rr > wr <0",
    );
}

#[test]
fn a_side_of_known_size_is_broadcast_to_one_of_unknown_size() {
    check(
        "a: read: TEXT
         x: map: LUA
         b: read: {inline: {rows: [[k, 1], [l, 2]]}}
         j: from: [x, b], join: {key: [1], kind: left}
         g: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "8 5 3 1
         m1: a > x+j (b) | g[g] > g+w <0
         l1 loads b",
    );
}

#[test]
fn what_is_not_deterministic_fuses_like_anything_else() {
    check(
        "r: read: TEXT
         x: deterministic: false, map: LUA
         g: reduceBy: {key: [1], FOLD}
         w: write: SINK
         y1: from: [x], map: LUA
         wy: write: SINK",
        "6 6 3 1
         m1: r > x+y1+wy | g[g] > g+w <0 | pass wy",
    );
}

#[test]
fn equal_steps_are_one_unless_they_are_not_deterministic() {
    check(
        "r: read: TEXT
         x: map: {lua: 'function(a) return a, 1 end'}
         wx: write: SINK
         x2: from: [r], map: {lua: 'function(a) return a, 1 end'}
         w2: write: SINK",
        "4 3 1 1
         m1: r > x+w2+wx | pass w2 | pass wx",
    );
    check(
        "r: read: TEXT
         x: deterministic: false, map: {lua: 'function(a) return a, 1 end'}
         wx: write: SINK
         x2: from: [r], deterministic: false, map: {lua: 'function(a) return a, 1 end'}
         w2: write: SINK",
        "4 4 1 1
         m1: r > x+wx+x2+w2 | pass wx | pass w2",
    );
}

#[test]
fn a_diamond_is_one_pass() {
    check(
        "r: read: TEXT
         x: map: LUA
         y1: map: LUA
         z: from: [x], filter: LUA
         j: from: [y1, z], join: {key: [1], kind: full, broadcast: never}
         w: write: SINK",
        "8 8 3 1
         m1: r > x+y1+j+z | j > j+w <0",
    );
    check(
        "r: read: TEXT
         x: map: LUA
         y1: map: LUA
         z: from: [x], flatMap: LUA
         u: from: [y1, z], union: {}
         v: map: LUA
         g: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "7 8 3 1
         m1: r > x+y1+v+z | g[g] > g+w <0",
    );
}

#[test]
fn a_read_that_nobody_reads_is_nothing() {
    check(
        "q: read: TEXT
         r: read: TEXT
         w: write: SINK",
        "1 1 1 1
         m1: r > w | pass w",
    );
}

#[test]
fn a_write_between_two_shuffles_runs_where_the_smallest_collection_says() {
    check(
        "r: read: TEXT
         g: reduceBy: {key: [1], FOLD}
         x: map: LUA
         wx: write: SINK
         y1: from: [x], map: LUA
         h: reduceBy: {key: [1], FOLD}
         wh: write: SINK",
        "8 8 5 2
         m1: r | g[g] > g <0
         m2 after m1: g > x+wx+y1 | h[h] > h+wh <0 | pass wx",
    );
    check(
        "r: read: TEXT
         g: reduceBy: {key: [1], FOLD}
         x: hints: {sizeRatio: 0.1}, map: LUA
         wx: write: SINK
         y1: from: [x], map: LUA
         h: reduceBy: {key: [1], FOLD}
         wh: write: SINK",
        "8 8 5 2
         m1: r | g[g] > g+x+wx <0
         m2 after m1: x > y1 | h[h] > h+wh <0",
    );
}

#[test]
fn two_sources_into_one_sink_and_one_of_them_into_another() {
    check(
        "a: read: TEXT
         x: map: LUA
         b: read: TEXT
         y1: map: LUA
         u: from: [x, y1], union: {}
         w: write: SINK
         z: from: [x], write: SINK",
        "4 5 2 1
         m1: a > x+w+z | b > y1+w | pass w | pass z",
    );
}

#[test]
fn a_join_of_three_views_of_one_source_one_of_them_counted() {
    check(
        "r: read: TEXT
         a: map: LUA
         b: from: [r], filter: LUA
         c: from: [r], count: {key: [1]}
         j: from: [a, b, c], join: {key: [1], kind: left, broadcast: never}
         w: write: SINK",
        // A name is there once: both views are passed as what `j` makes of them.
        "11 11 6 2
         m1: r > a+b+c+j | c[c] > c <0 | pass j
         m2 after m1: c > j | j | j | j > j+w <0,1,2",
    );
}

#[test]
fn paths_from_a_distinct_are_a_stage_before() {
    check(
        "p: read: TEXT
         d: distinct: {}
         r: read: {text: {pathsFrom: d}}
         g: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        "6 6 5 2
         m1: p > d | d[d] > d <0
         m2 after m1: r | g[g] > g+w <0",
    );
}

#[test]
fn one_side_input_serves_two_steps_of_one_pass() {
    check(
        "r: read: TEXT
         t: top: {n: 3, by: [{field: 1}]}
         x: from: [r], map: LUA, sideInputs: [{name: s, from: t, as: list}]
         wx: write: SINK
         y1: from: [r], filter: LUA, sideInputs: [{name: s, from: t, as: list}]
         wy: write: SINK",
        "7 7 4 2
         m1: r > t | t[t] > t <0
         m2 after m1: r > x+wx+y1+wy (t) | pass wx | pass wy",
    );
}

#[test]
fn an_operate_over_two_stages_is_a_side_of_a_join() {
    check(
        "a: read: TEXT
         ga: reduceBy: {key: [1], FOLD}
         b: read: TEXT
         gb: count: {key: [1]}
         o: operate: OPERATE, sideInputs: [{name: s, from: ga, as: list}, {name: t, from: gb, as: list}]
         j: from: [a, o], join: {key: [1], broadcast: never}
         w: write: SINK",
        "10 10 9 3
         m1: a | ga[ga] > ga <0
         m2: b > gb | gb[gb] > gb <0
         m3 after m1,m2: a > j | o > j | j > j+w <0,1
         o reads ga,gb after m1,m2",
    );
}

#[test]
fn a_step_behind_an_ordered_union_reads_it_whole() {
    check(
        "a: read: TEXT
         b: read: TEXT
         u: from: [a, b], union: {ordered: true}
         x: map: LUA
         l: limit: {n: 3}
         w: write: SINK",
        "3 3 3 1
         m1: u > x | l > w <0",
    );
}

#[test]
fn a_mapper_of_groups_of_two_depths_runs_once() {
    check(
        "r: read: TEXT
         x: map: LUA
         g: groupBy: {key: [1]}
         c: combine: {FOLD}
         h: from: [x], reduceBy: {key: [1], FOLD}
         u: from: [c, h, x], union: {}
         k: reduceBy: {key: [1], FOLD}
         w: write: SINK",
        // The groups of `g` and `h` are equal, and folds are all that reads them.
        "8 7 5 2
         m1: r > x | g[c+h] > c+h <0 | pass x
         m2 after m1: x | c | h | k[k] > k+w <0,1,2",
    );
}

#[test]
fn counts_by_different_keys_are_a_channel_each_and_equal_ones_are_one() {
    check(
        "r: read: TEXT
         x: map: LUA
         a: count: {key: [1]}
         wa: write: SINK
         b: from: [x], count: {key: [2]}
         wb: write: SINK",
        "9 9 5 1
         m1: r > x+a+b | a[a] > a+wa <0 | b[b] > b+wb <0",
    );
    check(
        "r: read: TEXT
         a: count: {key: [1]}
         wa: write: SINK
         b: from: [r], count: {key: [1]}
         wb: write: SINK",
        "8 5 3 1
         m1: r > a | a[a] > a+wa+wb <0",
    );
}

#[test]
fn a_count_a_distinct_and_two_tops_have_nothing_in_common() {
    check(
        "r: read: TEXT
         a: count: {}
         wa: write: SINK
         b: from: [r], distinct: {}
         wb: write: SINK
         c: from: [r], top: {n: 3, by: [{field: 1}]}
         wc: write: SINK
         d: from: [r], top: {n: 5, by: [{field: 1}]}
         wd: write: SINK",
        "16 16 9 1
         m1: r > a+b+c+d | a[a] > a+wa <0 | b[b] > b+wb <0 | c[c] > c+wc <0 | d[d] > d+wd <0",
    );
}

#[test]
fn joins_by_different_keys_are_a_stage_each() {
    check(
        "a: read: TEXT
         b: read: TEXT
         j1: from: [a, b], join: {key: [1], broadcast: never}
         x: map: LUA
         c: read: TEXT
         j2: from: [x, c], join: {key: [1], broadcast: never}
         w: write: SINK",
        "10 10 8 2
         m1: a > j1 | b > j1 | j1 > j1 <0,1
         m2 after m1: c > j2 | j1 > x+j2 | j2 > j2+w <0,1",
    );
}
