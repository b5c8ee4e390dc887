//! Combines against folding one row after the other.

use proptest::prelude::*;

use super::*;
use crate::fold::{Shortcut, normalise};
use crate::key::{compare_exact, compare_rows_exact};
use crate::op::limit::partition;
use crate::op::trial::{
    Collected, Trial, budget, decode, encode, encode_vals, key_fields, keys, naive_groups, push_all, rows, sorted, values_of,
};
use crate::{RowBuf, Value};

/// Field by field the largest value, of any kind.
struct Largest;

impl Folder for Largest {
    fn fold(&mut self, acc: &[Val<'_>], row: &[Val<'_>], out: &mut RowBuf) -> Result<()> {
        for at in 0..acc.len().max(row.len()) {
            let at = |row: &[Val<'_>]| row.get(at).copied().map_or(Value::Nil, |value| crate::codec::to_value(value).unwrap());
            let (a, b) = (encode(&[at(acc)]), encode(&[at(row)]));
            let (a, b) = (decode(&a)[0], decode(&b)[0]);
            out.push(if compare_exact(a, b).is_lt() { b } else { a });
        }
        Ok(())
    }

    fn shortcuts(&self) -> Option<&[Shortcut]> {
        None
    }
}

/// Sum and maximum of two values; what is no number counts as 1.
struct SumAndLargest {
    called: std::rc::Rc<std::cell::Cell<usize>>,
}

impl Folder for SumAndLargest {
    fn fold(&mut self, acc: &[Val<'_>], row: &[Val<'_>], out: &mut RowBuf) -> Result<()> {
        self.called.set(self.called.get() + 1);
        let number = |value: Val<'_>| match value {
            Val::Int(i) => i as f64,
            Val::Float(f) => f,
            _ => 1.0,
        };
        out.push(normalise(number(acc[0]) + number(row[0])));
        out.push(normalise(number(acc[1]).max(number(row[1]))));
        Ok(())
    }

    fn shortcuts(&self) -> Option<&[Shortcut]> {
        Some(&[Shortcut::Add, Shortcut::Max])
    }
}

fn adder() -> FoldSpec {
    FoldSpec::Lua(Box::new(SumAndLargest { called: std::rc::Rc::default() }))
}

fn largest() -> FoldSpec {
    FoldSpec::Lua(Box::new(Largest))
}

/// The results of each fold.
fn results(mut finish: impl FnMut(&mut Results<'_>) -> Result<()>, folds: usize) -> Vec<Vec<Vec<u8>>> {
    let mut found = vec![Vec::new(); folds];
    finish(&mut |fold, row| {
        found[fold].push(encode_vals(row));
        Ok(())
    })
    .unwrap();
    found
}

/// Rows through three map tasks and two partitions, and raw through one reduce task: both must give `expected`.
fn check(
    input: &[Vec<u8>],
    (key, values): (&Key, Values),
    folds: impl Fn() -> Vec<FoldSpec>,
    budget: usize,
    expected: &[Vec<Vec<u8>>],
) {
    let trial = Trial::with(budget);
    let mut partials: [Vec<Vec<u8>>; 2] = Default::default();
    let mut out = |hash: u64, row: &[Val<'_>]| {
        partials[partition(hash, 2)].push(encode_vals(row));
        Ok(())
    };
    let mut maps: Vec<MapCombine> = (0..3).map(|_| MapCombine::new(key.clone(), values, folds(), trial.allowance())).collect();
    let mut turn = (0..3).cycle();
    push_all(input, |row| maps[turn.next().unwrap()].push(row, &mut out));
    maps.into_iter().for_each(|map| map.finish(&mut out).unwrap());
    let mut found = vec![Vec::new(); expected.len()];
    for partials in partials {
        let mut reduce = ReduceCombine::new(key.clone(), values, folds(), trial.allowance());
        push_all(&partials, |row| reduce.push_partial(row));
        let mut reduce = Some(reduce);
        for (all, more) in found.iter_mut().zip(results(|out| reduce.take().unwrap().finish(out), expected.len())) {
            all.extend(more);
        }
    }
    let mut raw = ReduceCombine::new(key.clone(), values, folds(), trial.allowance());
    push_all(input, |row| raw.push_raw(row));
    let mut raw = Some(raw);
    let raw = results(|out| raw.take().unwrap().finish(out), expected.len());
    for ((found, raw), expected) in found.into_iter().zip(raw).zip(expected) {
        let expected: Vec<String> = sorted(expected.clone()).iter().map(|row| format!("{:?}", decode(row))).collect();
        let show = |rows| sorted(rows).iter().map(|row| format!("{:?}", decode(row))).collect::<Vec<_>>();
        assert_eq!(show(found), expected, "through the map side");
        assert_eq!(show(raw), expected, "raw");
    }
}

fn naive_fold(input: &[Vec<u8>], key: &Key, values: Values, folder: &mut dyn Folder) -> Vec<Vec<u8>> {
    let folded = naive_groups(input, |row| key_fields(row, key)).into_iter().map(|(shown, rows)| {
        let mut acc = encode_vals(&values_of(&rows[0], key, values));
        for row in &rows[1..] {
            let mut out = RowBuf::default();
            folder.fold(&decode(&acc), &values_of(row, key, values), &mut out).unwrap();
            acc = encode_vals(&out.iter().collect::<Vec<_>>());
        }
        encode_vals(&[&shown[..], &decode(&acc)[..]].concat())
    });
    folded.collect()
}

fn naive_count(input: &[Vec<u8>], key: &Key) -> Vec<Vec<u8>> {
    let groups = naive_groups(input, |row| key_fields(row, key)).into_iter();
    groups.map(|(shown, rows)| encode_vals(&[&shown[..], &[Val::Int(rows.len() as i64)]].concat())).collect()
}

fn naive_smallest(input: &[Vec<u8>], key: &Key) -> Vec<Vec<u8>> {
    let groups = naive_groups(input, |row| key_fields(row, key)).into_iter();
    groups.map(|(_, rows)| encode_vals(rows.iter().min_by(|a, b| compare_rows_exact(a, b)).unwrap())).collect()
}

/// Rows of a key and two values: numbers whose sums are exact, and some text.
fn summable() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let value = prop_oneof![
        4 => (0_i64..9).prop_map(Value::Int),
        2 => (-4_i32..9).prop_map(|halves| Value::Float(f64::from(halves) / 2.0)),
        1 => Just(Value::Str(b"one".to_vec())),
    ];
    let key = prop_oneof![(0_i64..6).prop_map(Value::Int), (0_i32..6).prop_map(|i| Value::Float(f64::from(i)))];
    let row = (key, value.clone(), value).prop_map(|(key, a, b)| encode(&[key, a, b]));
    prop::collection::vec(row, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_function_folds_each_group(
        input in rows(2..=3, 150), key in keys(), whole in any::<bool>(), budget in budget()
    ) {
        let values = if whole { Values::Row } else { Values::Rest };
        let expected = naive_fold(&input, &key, values, &mut Largest);
        check(&input, (&key, values), || vec![largest()], budget, &[expected]);
    }

    #[test]
    fn shortcuts_give_what_the_function_gives(input in summable(), budget in budget()) {
        let key = Key::Columns(vec![0]);
        let expected = naive_fold(&input, &key, Values::Rest, &mut SumAndLargest { called: std::rc::Rc::default() });
        check(&input, (&key, Values::Rest), || vec![adder()], budget, &[expected]);
    }

    #[test]
    fn rows_are_counted_and_made_distinct(input in rows(2..=3, 150), key in keys(), budget in budget()) {
        let (counts, smallest) = (naive_count(&input, &key), naive_smallest(&input, &key));
        check(&input, (&key, Values::Row), || vec![FoldSpec::Count], budget, std::slice::from_ref(&counts));
        check(&input, (&key, Values::Row), || vec![FoldSpec::Smallest], budget, std::slice::from_ref(&smallest));
        let expected = [smallest, counts, naive_fold(&input, &key, Values::Row, &mut Largest)];
        check(&input, (&key, Values::Row), || vec![FoldSpec::Smallest, FoldSpec::Count, largest()], budget, &expected);
    }

    #[test]
    fn a_top_is_folded_alone_and_beside_others(input in rows(2..=3, 150), n in 0_u64..20, budget in budget()) {
        let key = Key::Columns(vec![]);
        let by = vec![Order { column: 1, descending: true }];
        let (trial, mut collected) = (Trial::with(64 << 20), Collected::default());
        let mut top = Top::new(&by, n, trial.allowance());
        push_all(&input, |row| top.push(row));
        top.finish(&mut collected).unwrap();
        let fold = || FoldSpec::Top { by: by.clone(), n };
        check(&input, (&key, Values::Row), || vec![fold()], budget, std::slice::from_ref(&collected.rows));
        let expected = [collected.rows.clone(), naive_count(&input, &key), collected.rows];
        check(&input, (&key, Values::Row), || vec![fold(), FoldSpec::Count, fold()], budget, &expected);
    }
}

#[test]
fn numbers_are_folded_without_calling_the_function() {
    let (trial, called) = (Trial::with(64 << 20), std::rc::Rc::default());
    let folder = SumAndLargest { called: std::rc::Rc::clone(&called) };
    let key = Key::Columns(vec![0]);
    let mut combine = ReduceCombine::new(key, Values::Rest, vec![FoldSpec::Lua(Box::new(folder))], trial.allowance());
    for i in 0..1000 {
        combine.push_raw(&[Val::Str(b"key"), Val::Int(i), Val::Float(0.5)]).unwrap();
    }
    assert_eq!(called.get(), 0);
    combine.push_raw(&[Val::Str(b"key"), Val::Str(b"no number"), Val::Int(7)]).unwrap();
    assert_eq!(called.get(), 1);
    let mut combine = Some(combine);
    let found = results(|out| combine.take().unwrap().finish(out), 1);
    assert_eq!(decode(&found[0][0]), [Val::Str(b"key"), Val::Int(499_501), Val::Int(7)]);
}

#[test]
fn many_groups_finish_within_a_small_budget() {
    let trial = Trial::with(256 << 10);
    let allowance = trial.allowance();
    let mut combine = ReduceCombine::new(Key::Columns(vec![0]), Values::Rest, vec![FoldSpec::Count], allowance.clone());
    for i in 0..300_000_i64 {
        combine.push_raw(&[Val::Int(i * 7919 % 100_000), Val::Nil]).unwrap();
        assert!(combine.parts.groups.as_ref().unwrap().bytes() <= allowance.budget * 2);
    }
    assert!(combine.runs.len() > 10);
    let mut seen = vec![0; 100_000];
    combine
        .finish(&mut |_, row| {
            let [Val::Int(key), Val::Int(count)] = *row else { panic!("{row:?}") };
            seen[key as usize] += count;
            Ok(())
        })
        .unwrap();
    assert!(seen.iter().all(|count| *count == 3));
    assert!(allowance.spilled.load(std::sync::atomic::Ordering::Relaxed) > 0);
}

/// Joins texts: what a group folds into grows without end.
struct Concat;

impl Folder for Concat {
    fn fold(&mut self, acc: &[Val<'_>], row: &[Val<'_>], out: &mut RowBuf) -> Result<()> {
        let text = |row: &[Val<'_>]| if let [Val::Str(text)] = row { text.to_vec() } else { panic!("{row:?}") };
        out.push(Val::Str(&[text(acc), text(row)].concat()));
        Ok(())
    }

    fn shortcuts(&self) -> Option<&[Shortcut]> {
        None
    }
}

#[test]
fn values_of_one_group_that_do_not_fit_fail_with_step_key_and_size() {
    let trial = Trial::with(100 << 10);
    let folds = vec![FoldSpec::Lua(Box::new(Concat))];
    let mut combine = ReduceCombine::new(Key::Columns(vec![0]), Values::Rest, folds, trial.allowance());
    let error = (0..1000).find_map(|_| combine.push_raw(&[Val::Str(b"k"), Val::Str(&[b'x'; 1000])]).err()).unwrap();
    assert_eq!(error.to_string(), "step \"trial\" failed");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("the folded values of key (\"k\") do not fit into memory: they take 1"), "{source}");
}

#[test]
fn rows_for_a_network_are_folded_in_far_larger_tables() {
    let trial = Trial::with(64 << 20);
    let handed_out = |table: MapCombine| {
        let (mut table, mut rows) = (table, 0);
        for i in 0..120_000_i64 {
            table.push(&[Val::Int(i * 7919 % 30_000)], &mut |_, _| Ok(rows += 1)).unwrap();
        }
        table.finish(&mut |_, _| Ok(rows += 1)).unwrap();
        rows
    };
    let table = || MapCombine::new(Key::Columns(vec![0]), Values::Rest, vec![FoldSpec::Count], trial.allowance());
    assert_eq!(handed_out(table().far()), 30_000);
    assert!(handed_out(table()) > 60_000, "what is shuffled in memory is not worth a table that leaves the cache");
}
