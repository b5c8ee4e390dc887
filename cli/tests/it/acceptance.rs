//! The acceptance workloads: what a user of the README's system runs, with results computed here by other means.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use crate::flow::{Flow, PARTITIONS};

const SHOW: &str = "write: {stdout: {}}";
const SUM: &str = "reduceBy: {key: [1], lua: 'function(x, y) return x + y end'}";
const WORDS: &str = "flatMap: {lua: 'function(line) return line:gmatch(\"%w+\") end'}";
const PAIRS: &str = "map: {lua: 'function(word) return word, 1 end'}";

/// A frozen password file: real enough, and the same for ever.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\n\
sys:x:3:3:sys:/dev:/usr/sbin/nologin\nsync:x:4:65534:sync:/bin:/bin/sync\ngames:x:5:60:games:/usr/games:/usr/sbin/nologin\n\
man:x:6:12:man:/var/cache/man:/usr/sbin/nologin\nmail:x:8:8:mail:/var/mail:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";

/// Another text, as it comes from a program.
const GO: &str = "package main\n\nfunc add(x, y int) int {\n\treturn x + y\n}\n\nfunc main() {\n\tadd(1, 2)\n\treturn\n}\n";

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

fn counts(text: &str) -> BTreeMap<&str, usize> {
    words(text).into_iter().fold(BTreeMap::new(), |mut counts, word| {
        *counts.entry(word).or_default() += 1;
        counts
    })
}

/// Most frequent first; ties by the whole row.
fn most_frequent(text: &str) -> Vec<(&str, usize)> {
    let mut counts: Vec<_> = counts(text).into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    counts
}

fn lines<T>(items: impl IntoIterator<Item = T>, show: impl Fn(T) -> String) -> Vec<String> {
    items.into_iter().map(show).collect()
}

fn borrowed(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).collect()
}

/// What a shell prints for this input.
fn shell(command: &str, input: &str) -> Vec<String> {
    use std::io::Write;
    let mut child =
        Command::new("sh").args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("small input");
    let output = child.wait_with_output().expect("ends");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn a1_word_count_then_the_five_most_frequent() {
    let flow = Flow::of(&[
        "read: {text: {paths: [passwd]}}",
        WORDS,
        PAIRS,
        SUM,
        "sort: {by: [{field: 2}]}",
        "top: {n: 5, by: [{field: 2, order: desc}]}",
        "write: {stdout: {format: \"%s\\t%d\"}}",
    ]);
    let expected = lines(most_frequent(PASSWD).into_iter().take(5), |(word, n)| format!("{word}\t{n}"));
    flow.file("passwd", PASSWD).prints_in_order(&borrowed(&expected));
}

#[test]
fn a2_word_count_is_the_same_for_any_number_of_partitions() {
    let expected = lines(counts(PASSWD), |(word, n)| format!("{word}\t{n}"));
    let read = "read: {text: {paths: [passwd]}}";
    for extra in ["", "\npartitions: 1", "\npartitions: 2", "\npartitions: 7"] {
        let flow = Flow::of(&[read, "roundRobin: {}\npartitions: 3", WORDS, PAIRS, &format!("{SUM}{extra}"), SHOW]);
        flow.file("passwd", PASSWD).prints(&borrowed(&expected));
    }
}

#[test]
fn a3_word_count_in_a_pipeline_equals_the_shells() {
    let flow = Flow::of(&[
        "read: {text: {paths: [passwd]}}",
        "merge: {}",
        "pipe: {command: tr -sc A-Za-z0-9 '\\n'}",
        "pipe: {command: tr A-Z a-z}",
        "pipe: {command: tee copy.out}",
        "pipe: {command: LC_ALL=C sort}",
        "pipe: {command: uniq -c}",
        SHOW,
    ])
    .file("passwd", PASSWD);
    let expected = shell("tr -sc A-Za-z0-9 '\\n' | tr A-Z a-z | LC_ALL=C sort | uniq -c", PASSWD);
    let mut command = flow.command("run", &[]);
    let ran = crate::flow::finish({
        command.current_dir(flow.path(""));
        command
    });
    assert_eq!(ran.expect(0, &[]).lines(), expected);
    assert!(flow.entries().contains(&"copy.out".to_owned()), "a pipe runs in the flow's directory: {:?}", flow.entries());
}

#[test]
fn a4_word_count_over_files_read_by_a_command_per_name() {
    let both = format!("{PASSWD}{GO}");
    let flow = Flow::of(&[
        "read: {inline: {lines: [passwd, main.go]}}",
        "roundRobin: {}\npartitions: 3",
        "pipeAsArgs: {command: 'cat \"$1\"'}",
        "flatMap: {lua: 'function(...) return table.concat({...}, \" \"):gmatch(\"%w+\") end'}",
        PAIRS,
        SUM,
        "map: {lua: 'function(k, v) return k .. \" \" .. v end'}",
        "merge: {}",
        "pipe: {command: LC_ALL=C sort -k 2n -k 1}",
        SHOW,
    ]);
    let mut counted: Vec<_> = counts(&both).into_iter().collect();
    counted.sort_by(|a, b| a.1.cmp(&b.1).then(a.0.cmp(b.0)));
    let expected = lines(counted, |(word, n)| format!("{word} {n}"));
    flow.file("passwd", PASSWD).file("main.go", GO).prints_in_order(&borrowed(&expected));
}

#[test]
fn a5_for_each_opens_files_and_emits_lines() {
    let flow = Flow::of(&["read: {inline: {lines: []}}", SHOW]).file("passwd", PASSWD).file("main.go", GO);
    let folder = flow.path("").display().to_string();
    let spec = "params:\n  - {name: dir}";
    let counting = Flow::with_spec(
        spec,
        &[
            "read: {inline: {lines: [passwd, main.go]}}",
            "forEach: {lua: 'function(name) for line in io.open(\"$(params.dir)/\" .. name):lines() do emit(line) end end'}",
            WORDS,
            "map: {lua: 'function(word) return word:lower() end'}",
            "count: {key: [1]}",
            "top: {n: 5, by: [{field: 2, order: desc}]}",
            SHOW,
        ],
    );
    let text = format!("{PASSWD}{GO}").to_lowercase();
    let expected = lines(most_frequent(&text).into_iter().take(5), |(word, n)| format!("{word}\t{n}"));
    for partitions in PARTITIONS {
        let ran = counting.run(&["--param", &format!("dir={folder}"), "--partitions", partitions]);
        assert_eq!(ran.expect(0, &[]).lines(), expected);
    }
}

const A1_CSV: &str = "policyID,statecode,county,limit\n119736,FL,CLAY COUNTY,498960\n448094,FL,CLAY COUNTY,1322376.3\n206893,FL,CLAY COUNTY,190724.4\n333743,FL,CLAY COUNTY,0\n172534,FL,CLAY COUNTY,0\n";
const B_CSV: &str = "119736,a,b,FL,498960\n448094,a,b,\"FL, south\",1322376.3\n206893,a,b,FL,190724.4\n333743,a,b,FL,79520.76\n000000,a,b,0,254281.5\n";

#[test]
fn a6_a_right_join_of_csv_files() {
    let flow = Flow::of(&[
        "read: {csv: {paths: [\"a?.csv\"], header: true, columns: [1, 2, 3]}}",
        "read: {csv: {paths: [b.csv], columns: [1, 4, 5]}}",
        "join: {key: [1], kind: right}\nfrom: [s1, s2]",
        "write: {stdout: {format: \"%s : %s %s, %s %s\"}}",
    ]);
    let mut expected = vec!["000000 : nil nil, 0 254281.5".to_owned()];
    for (key, state, value) in [
        ("119736", "FL", "498960"),
        ("206893", "FL", "190724.4"),
        ("333743", "FL", "79520.76"),
        ("448094", "FL, south", "1322376.3"),
    ] {
        expected.extend(vec![format!("{key} : FL CLAY COUNTY, {state} {value}"); 2]);
    }
    flow.file("a1.csv", A1_CSV).file("a2.csv", A1_CSV).file("b.csv", B_CSV).prints(&borrowed(&expected));
}

#[test]
fn a7_two_csv_files_joined_by_chosen_columns() {
    let flow = Flow::of(&[
        "read: {csv: {paths: [a.csv]}}\nfields: [a1, a2, a3, a4, a5]",
        "select: {columns: [a1, a4]}",
        "read: {csv: {paths: [b.csv]}}\nfields: [b1, b2, b3]",
        "select: {columns: [b2, b3]}",
        "join: {key: [1]}\nfrom: [s2, s4]",
        SHOW,
    ]);
    flow.file("a.csv", "k1,x,x,v1,x\nk2,x,x,v2,x\n").file("b.csv", "y,k2,w2\ny,k3,w3\n").prints(&["k2\tv2\tw2"]);
}

#[test]
fn a8_word_counts_of_two_files_joined() {
    let count = |path: &str| [format!("read: {{text: {{paths: [{path}]}}}}"), WORDS.to_owned(), PAIRS.to_owned(), SUM.to_owned()];
    let (left, right) = (count("passwd"), count("main.go"));
    let mut steps: Vec<&str> = left.iter().chain(&right).map(String::as_str).collect();
    steps.extend([
        "join: {key: [1]}\nfrom: [s4, s8]",
        "read: {inline: {rows: [[\"x\"], [\"return\"]]}}",
        "join: {key: [1]}\nfrom: [s9, s10]",
        "union: {}\nfrom: [s9, s11]",
        SHOW,
    ]);
    let (a, b) = (counts(PASSWD), counts(GO));
    let both: Vec<_> = a.iter().filter_map(|(word, n)| b.get(word).map(|m| (*word, *n, *m))).collect();
    let chosen = both.iter().filter(|(word, _, _)| ["x", "return"].contains(word));
    let expected = lines(both.iter().chain(chosen), |(word, n, m)| format!("{word}\t{n}\t{m}"));
    assert!(!expected.is_empty());
    Flow::of(&steps).file("passwd", PASSWD).file("main.go", GO).prints(&borrowed(&expected));
}

#[test]
fn a12_pi_by_points_in_a_square() {
    let flow = Flow::of(&[
        "read: {range: {to: 80}}",
        "partition: {key: [1]}\npartitions: 7",
        "map: {lua: 'function(row) math.randomseed(row) local n = 0 for i = 1, 20000 do local x, y = math.random(), math.random() if x * x + y * y < 1 then n = n + 1 end end return n, 20000 end'}",
        "reduce: {lua: 'function(a, b, c, d) return a + c, b + d end'}",
        "write: {stdout: {format: \"%d %d\"}}",
    ]);
    let mut seen = Vec::new();
    for partitions in PARTITIONS {
        let printed = flow.run(&["--partitions", partitions]).expect(0, &[]).lines();
        let numbers: Vec<f64> = printed[0].split(' ').map(|n| n.parse().expect("a number")).collect();
        assert!((4.0 * numbers[0] / numbers[1] - std::f64::consts::PI).abs() < 0.01, "{printed:?}");
        seen.push(printed);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "seeded by row, the same everywhere: {seen:?}");
}

#[test]
fn a15_branches_of_one_sorted_pipe_united() {
    let awk = |column: u32| format!("pipe: {{command: \"awk '{{print ${column}}}'\"}}\nfrom: [s3]");
    let (first, third, sixth) = (awk(1), awk(3), awk(6));
    let steps = |union: &'static str| {
        [
            "read: {text: {paths: [table]}}".to_owned(),
            "merge: {}".to_owned(),
            "pipe: {command: LC_ALL=C sort}".to_owned(),
            first.clone(),
            third.clone(),
            sixth.clone(),
            union.to_owned(),
            SHOW.to_owned(),
        ]
    };
    let table = "f e d c b a\n1 2 3 4 5 6\nx y z u v w\n";
    let one_after_another = ["1", "f", "x", "3", "d", "z", "6", "a", "w"];
    let any = steps("union: {}\nfrom: [s4, s5, s6]");
    Flow::of(&any.each_ref().map(String::as_str)).file("table", table).prints(&one_after_another);
    let ordered = steps("union: {ordered: true}\nfrom: [s4, s5, s6]");
    Flow::of(&ordered.each_ref().map(String::as_str)).file("table", table).prints_in_order(&one_after_another);
}

#[test]
fn a19_thirty_cats_and_a_shell_per_row() {
    let mut steps = vec!["read: {inline: {lines: [passwd]}}", "pipeAsArgs: {command: 'cat \"$1\"'}"];
    steps.extend(["pipe: {command: cat}"; 30]);
    steps.push(SHOW);
    let expected: Vec<&str> = PASSWD.lines().collect();
    Flow::of(&steps).file("passwd", PASSWD).prints(&expected);
    let expected = lines(0..100, |n| format!("foo bar {n}"));
    Flow::of(&["read: {range: {to: 100}}", "pipeAsArgs: {command: 'echo foo bar $1'}", SHOW]).prints(&borrowed(&expected));
}

const STRINGS: &str = "read: {inline: {lines: [asdf, hlkgjh, truytyu, 34weqrqw, asdfadfasaf]}}";

#[test]
fn a20_grep_and_sort() {
    Flow::of(&[STRINGS, "merge: {}", "pipe: {command: grep -v asdf}", SHOW]).prints(&["hlkgjh", "truytyu", "34weqrqw"]);
    Flow::of(&[STRINGS, "merge: {}", "pipe: {command: LC_ALL=C sort}", SHOW]).prints_in_order(&[
        "34weqrqw",
        "asdf",
        "asdfadfasaf",
        "hlkgjh",
        "truytyu",
    ]);
}

#[test]
fn a21_filter_in_lua_and_sort() {
    Flow::of(&[
        STRINGS,
        "filter: {lua: 'function(line) return line:sub(1, 3) ~= \"asd\" end'}",
        "sort: {by: [{field: 1}]}",
        SHOW,
    ])
    .prints_in_order(&["34weqrqw", "hlkgjh", "truytyu"]);
}

#[test]
fn a22_maps_filters_selections_and_limits() {
    let through = |rows: &str, step: &str| Flow::of(&[&format!("read: {{inline: {{rows: {rows}}}}}"), step, SHOW]);
    through("[[1999, \"xxx\", false]]", "map: {lua: 'function(x, y, z) return x + 1, y .. \"yyy\", not z end'}")
        .prints(&["2000\txxxyyy\ttrue"]);
    through("[[1999], [-1], [0], [1]]", "filter: {lua: 'function(x) return x > 0 end'}").prints(&["1999", "1"]);
    through("[[\"x1 x2 x3\"]]", WORDS).prints(&["x1", "x2", "x3"]);
    through("[[8888, null, \"hello\"]]", "map: {lua: 'function(x, y, z) return x, y, z end'}").prints(&["8888\t\thello"]);
    through("[[1, 2, 3]]", "select: {columns: [2, 1]}").prints(&["2\t1"]);
    Flow::of(&["read: {inline: {rows: [[3], [1], [2]]}}", "sort: {by: [{field: 1}]}", "limit: {n: 1, offset: 1}", SHOW])
        .prints(&["2"]);
}

#[test]
fn a23_groups_and_reductions() {
    let through = |rows: &str, step: &str| Flow::of(&[&format!("read: {{inline: {{rows: {rows}}}}}"), step, SHOW]);
    let rows = "[[\"key1\", 100, 2], [\"key2\", 101, 3], [\"key2\", 101, 4], [\"key3\", null, null]]";
    through(rows, "groupBy: {key: [1, 2], orderBy: [{field: 3}]}").prints(&[
        "key1\t100\t[2]",
        "key2\t101\t[3,4]",
        "key3\t\t[null]",
    ]);
    through(rows, "groupBy: {key: [1], orderBy: [{field: 3}]}").prints(&[
        "key1\t[[100,2]]",
        "key2\t[[101,3],[101,4]]",
        "key3\t[[null,null]]",
    ]);
    through(rows, "groupBy: {key: [1, 2, 3]}").prints(&[
        "key1\t100\t2\t[[]]",
        "key2\t101\t3\t[[]]",
        "key2\t101\t4\t[[]]",
        "key3\t\t\t[[]]",
    ]);
    through(rows, "reduceBy: {key: [1], lua: 'function(a, b, c, d) return a + c, b + d end'}").prints(&[
        "key1\t100\t2",
        "key2\t202\t7",
        "key3\t\t",
    ]);
}

#[test]
fn a26_a_long_line_an_empty_group_and_unequal_unions() {
    let long = "y".repeat(70_000);
    let flow = Flow::of(&[
        "read: {text: {paths: [long]}}",
        "pipe: {command: cat}",
        "map: {lua: 'function(line) return #line end'}",
        SHOW,
    ]);
    flow.file("long", format!("before\n{long}\nafter\n")).prints(&["6", "70000", "5"]);
    Flow::of(&["read: {inline: {rows: []}}", "groupBy: {key: [1]}", SHOW]).prints(&[]);
    let expected = lines((0..30).chain(0..30).chain(0..4), |n| n.to_string());
    Flow::of(&[
        "read: {range: {to: 30}}",
        "roundRobin: {}\npartitions: 7",
        "partition: {key: [1]}\npartitions: 2\nfrom: [s1]",
        "read: {range: {to: 4}}",
        "union: {}\nfrom: [s2, s3, s4]",
        SHOW,
    ])
    .prints(&borrowed(&expected));
}

#[test]
fn a26_a_flow_joined_with_its_own_derivative_on_one_thread() {
    let flow = Flow::of(&[
        "read: {range: {to: 3000}}",
        "map: {lua: 'function(x) return x % 100, x end'}",
        "reduceBy: {key: [1], lua: 'function(x, y) return math.max(x, y) end'}",
        "join: {key: [1], broadcast: always}\nfrom: [s2, s3]",
        "roundRobin: {}\npartitions: 14",
        "filter: {lua: 'function(k, x, most) return x == most end'}",
        "sort: {by: [{field: 1}]}\npartitions: 25",
        SHOW,
    ]);
    let expected = lines(0..100, |k| format!("{k}\t{most}\t{most}", most = 2900 + k));
    let ran = flow.run(&["--threads", "1"]);
    assert_eq!(ran.expect(0, &[]).lines(), expected);
}

#[test]
fn a26_errors_of_functions_and_pipes_in_the_middle_fail_the_flow() {
    let slow = "map: {lua: 'function(x) local s = 0 for i = 1, 2000 do s = s + i % 7 end return x, s end'}";
    for step in [
        "map: {lua: 'function(x) if x == 2000 then error(\"in the middle\") end return x end'}",
        "pipe: {command: 'head -n 100; exit 3'}",
        "pipe: {command: 'head -n 100; kill -9 $$'}",
        "pipe: {command: no-such-command}",
        "pipeAsArgs: {command: 'test \"$1\" -lt 30'}",
    ] {
        Flow::of(&["read: {range: {to: 4000}}", slow, step, "write: {text: {path: out}}"]).fails(&["\"s3\""]);
    }
}
