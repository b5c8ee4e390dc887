//! Parameters, preludes, sources, and what is taken on trust.

use plan::{Op, Paths, Source};
use proptest::prelude::*;

use super::*;

const EVERYTHING: &str = include_str!("../../../../crds/src/document/tests/everything.yaml");

fn document(spec: &str) -> Document {
    Document::parse(&format!("{HEAD}{spec}"), "flow.yaml").unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn values(values: &[(&str, &str)]) -> ParamValues {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn paths(graph: &plan::Graph) -> Vec<String> {
    let paths = graph.nodes.values().filter_map(|node| match &node.op {
        Op::Read(Source::Files { paths: Paths::Listed(paths), .. }) => Some(paths.clone()),
        Op::ParallelDo(plan::Do::Write(plan::Sink::Files { path, .. })) => Some(vec![path.clone()]),
        _ => None,
    });
    paths.flatten().collect()
}

const PARAMS: &str = "  params: [{name: in, value: data}, {name: out}, {name: key, value: '2'}]
  steps:
  - name: read
    read: {csv: {paths: ['$(params.in)/a.csv', 'x/$(params.in)', '$(params.in)$(params.in)'], types: {'2': integer}}}
  - name: sort
    sort: {by: [{field: '$(params.key)', order: desc}]}
  - name: show
    write: {text: {path: '$(params.out)'}}
";

#[test]
fn parameters_are_replaced_as_plain_text() {
    let flow = document(PARAMS).flow;
    let checked = check(&flow, &Facts::new(), &values(&[("out", "o")])).unwrap();
    assert_eq!(paths(&checked.graph), ["data/a.csv", "x/data", "datadata", "o"]);
    let sort = checked.graph.nodes.values().find(|node| node.step == "sort").unwrap();
    assert_eq!(sort.op, Op::Group(plan::Group::Sort { by: vec![plan::Order { column: 1, descending: true }] }));
}

#[test]
fn paths_from_the_command_line_are_relative_to_the_working_directory() {
    let flow = document(PARAMS).flow;
    let options = CheckOptions { working_directory: Some("/home/me"), ..CheckOptions::default() };
    for (given, expected) in [
        (("here", "o"), ["/home/me/here/a.csv", "x/here", "/home/me/herehere", "/home/me/o"]),
        (("/there", "s3://bucket/o"), ["/there/a.csv", "x//there", "/there/there", "s3://bucket/o"]),
    ] {
        let given = values(&[("in", given.0), ("out", given.1)]);
        let checked = check_with(&flow, &Facts::new(), &given, &options).unwrap();
        assert_eq!(paths(&checked.graph), expected);
    }
}

#[test]
fn a_value_is_not_searched_for_parameters_again() {
    let flow = document(PARAMS).flow;
    let checked = check(&flow, &Facts::new(), &values(&[("out", "$(params.in)")])).unwrap();
    assert_eq!(paths(&checked.graph)[3], "$(params.in)");
}

#[test]
fn sources_are_listed_before_the_check() {
    let flow = document(
        "  steps:\n  - name: a\n    read: {text: {paths: [a]}}\n  - name: b\n    read: {csv: {pathsFrom: a}}\n  - name: c\n    read: \
         {csv: {paths: [c], header: true, delimiter: ;, columns: [z], types: {z: integer}}}\n  - name: d\n    read: {range: {to: \
         3}}\n",
    )
    .flow;
    let found = sources(&flow, &ParamValues::new()).unwrap();
    let options = plan::CsvOptions { header: true, delimiter: b';', quote: Some(b'"'), columns: None, types: Vec::new() };
    let file = |format, path: &str| Source::Files { format, paths: Paths::Listed(vec![path.to_owned()]), allow_empty: false };
    let expected = [("a", file(plan::Format::Text, "a")), ("c", file(plan::Format::Csv(options), "c"))];
    assert_eq!(found, expected.map(|(step, source)| (step.to_owned(), source)));
}

#[test]
fn names_in_unseen_files_can_be_taken_on_trust() {
    let flow = document(
        "  steps:\n  - name: a\n    read: {csv: {paths: [a], header: true, types: {age: integer}}}\n  - name: s\n    select: \
         {columns: [name, 2]}\n  - name: t\n    sort: {by: [{field: nme}]}\n  - name: w\n    write: {stdout: {}}\n",
    )
    .flow;
    let options = CheckOptions { lenient: true, ..CheckOptions::default() };
    let checked = check_with(&flow, &Facts::new(), &ParamValues::new(), &options);
    assert!(!checked.unwrap().certain);
    let strict = check(&flow, &Facts::new(), &ParamValues::new()).unwrap_err();
    assert_eq!(strict.len(), 3, "{strict:#?}");
    let seen = SourceFacts { fields: Some(vec!["name".into(), "age".into()]), bytes: None };
    let facts = Facts::from([("a".to_owned(), seen)]);
    let problems = check_with(&flow, &facts, &ParamValues::new(), &options).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].path, "steps[2].sort.by[0].field");
}

#[test]
fn names_do_not_matter_where_there_are_no_rows() {
    let flow = document(
        "  steps:\n  - name: a\n    read: {csv: {paths: ['none*'], header: true, allowEmpty: true}}\n  - name: s\n    sort: {by: \
         [{field: age}]}\n  - name: w\n    write: {stdout: {}}\n",
    )
    .flow;
    let facts = Facts::from([("a".to_owned(), SourceFacts { fields: None, bytes: Some(0) })]);
    assert!(check(&flow, &facts, &ParamValues::new()).unwrap().certain);
}

#[test]
fn functions_know_their_place() {
    let document = document(
        "  lua: local two = 2\n  steps:\n  - name: a\n    read: {range: {to: 3}}\n  - name: m\n    map:\n      lua: |\n        \
         function(x) return x * two end\n  - name: w\n    write: {stdout: {}}\n",
    );
    let options = CheckOptions { places: Some(&document.places), ..CheckOptions::default() };
    let checked = check_with(&document.flow, &Facts::new(), &ParamValues::new(), &options).unwrap();
    assert_eq!(checked.prelude, "local two = 2");
    let map = checked.graph.nodes.values().find(|node| node.step == "m").unwrap();
    let Op::ParallelDo(plan::Do::Map(function)) = &map.op else { panic!("{map:?}") };
    assert_eq!((function.place.as_str(), function.source.as_str()), ("flow.yaml:12:9", "function(x) return x * two end\n"));
}

#[test]
fn a_prelude_from_a_config_map_is_given_from_outside() {
    let flow = document(&format!("  luaFrom: {{configMapKeyRef: {{name: a, key: b}}}}\n{ONE_STEP}")).flow;
    let with =
        |lua| check_with(&flow, &Facts::new(), &ParamValues::new(), &CheckOptions { lua_from: Some(lua), ..Default::default() });
    assert_eq!(with("x = 1").unwrap().prelude, "x = 1");
    assert_eq!(with("x = = 1").unwrap_err()[0].path, "luaFrom");
}

#[test]
fn cluster_fields_do_not_concern_a_local_run() {
    let spec = "  storage: {volume: {emptyDir: {}}}\n  executors: {maxReplicas: 3}\n  retry: {limit: 1}\n  suspend: true\n  \
                onSpecChange: Ignore\n  rerunNonce: a\n  cache: {enabled: true}\n  retention: {podsSeconds: 1}\n  \
                taskDeadlineSeconds: 5\n";
    let flow = document(&format!("{spec}{ONE_STEP}")).flow;
    assert!(check(&flow, &Facts::new(), &ParamValues::new()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Steps in any order, with any of them missing: a graph whose edges all lead somewhere, or problems; never a panic.
    #[test]
    fn any_steps_make_a_graph_or_problems(picks in proptest::collection::vec(0_usize..100, 1..12), chain in any::<bool>()) {
        let mut flow = Document::parse(EVERYTHING, "f").unwrap().flow;
        flow.spec.managed_by = None;
        flow.spec.scheduling = None;
        let all = std::mem::take(&mut flow.spec.steps);
        for pick in picks {
            let mut step = all[pick % all.len()].clone();
            if chain && !step.operators().iter().any(|operator| matches!(operator.name(), "join" | "coGroup" | "union")) {
                (step.from, step.fields) = (None, None);
            }
            flow.spec.steps.push(step);
        }
        match check(&flow, &Facts::new(), &values(&[("word", "w")])) {
            Ok(checked) => for node in checked.graph.nodes.values() {
                let sides = node.side_inputs.iter().map(|side| side.from);
                for id in node.inputs.iter().copied().chain(sides).chain(node.outputs.iter().copied()) {
                    prop_assert!(checked.graph.collections.contains_key(&id), "{node:?}");
                    prop_assert!(checked.graph.nodes.contains_key(&checked.graph.collections[&id].producer));
                }
            },
            Err(problems) => prop_assert!(!problems.is_empty()),
        }
    }
}
