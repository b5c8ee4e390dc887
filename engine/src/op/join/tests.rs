//! Joins against nested loops.

use proptest::prelude::*;

use super::*;
use crate::op::trial::{Collected, Trial, budget, decode, encode_vals, naive_groups, push_all, rows, sorted};

/// Tagged rows joined, slowly.
pub(in crate::op) fn naive(tagged: &[Vec<u8>], shape: &Shape, fields: usize) -> Vec<Vec<u8>> {
    let mut joined = Vec::new();
    for (shown, rows) in naive_groups(tagged, |row| row[1..=fields].to_vec()) {
        let of_leg = |leg: usize| rows.iter().filter(|row| row[0] == Val::Int(leg as i64)).collect::<Vec<_>>();
        if !shape.keeps(|leg| !of_leg(leg).is_empty()) {
            continue;
        }
        let mut products = vec![shown];
        for (leg, width) in shape.widths.iter().enumerate() {
            let mut values: Vec<Vec<Val<'_>>> = of_leg(leg).iter().map(|row| row[1 + fields..].to_vec()).collect();
            if values.is_empty() {
                values.push(vec![Val::Nil; *width]);
            }
            products = products.iter().flat_map(|row| values.iter().map(|more| [&row[..], more].concat())).collect();
        }
        joined.extend(products.iter().map(|row| encode_vals(row)));
    }
    joined
}

/// Gives the rows legs, by turns as `turns` says.
pub(in crate::op) fn tagged(input: &[Vec<u8>], turns: &[i64]) -> Vec<Vec<u8>> {
    let legs = input.iter().zip(turns.iter().cycle());
    legs.map(|(row, leg)| encode_vals(&[&[Val::Int(*leg)], &decode(row)[..]].concat())).collect()
}

pub(in crate::op) fn kinds() -> impl Strategy<Value = JoinKind> {
    prop::sample::select(vec![JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full])
}

/// How rows are spread over legs: evenly, mostly to one, none to one, and over three.
fn turns() -> impl Strategy<Value = (usize, Vec<i64>)> {
    prop::sample::select(vec![
        (2, vec![0, 1]),
        (2, vec![1, 1, 1, 0, 1, 1]),
        (2, vec![0, 0, 0, 0, 0, 1]),
        (2, vec![0]),
        (2, vec![1]),
        (3, vec![0, 1, 1, 2, 1, 1]),
        (3, vec![2, 0]),
    ])
}

fn check(input: &[Vec<u8>], turns: &(usize, Vec<i64>), kind: JoinKind, fields: usize, budget: usize) {
    let (legs, turns) = turns;
    let shape = Shape { kind, widths: (1..=*legs).collect() };
    let tagged = tagged(input, turns);
    let (trial, mut collected) = (Trial::with(budget), Collected::default());
    let mut join = Join::new(kind, fields, shape.widths.clone(), trial.allowance());
    push_all(&tagged, |row| join.push(row));
    join.finish(&mut collected).unwrap();
    let show = |rows| sorted(rows).iter().map(|row| format!("{:?}", decode(row))).collect::<Vec<_>>();
    assert_eq!(show(collected.rows), show(naive(&tagged, &shape, fields)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn legs_are_joined_whatever_the_budget(
        input in rows(2..=3, 80), turns in turns(), kind in kinds(), fields in 1_usize..3, budget in budget()
    ) {
        check(&input, &turns, kind, fields, budget);
    }

    #[test]
    fn a_join_on_no_fields_is_the_whole_product(input in rows(1..=2, 16), turns in turns(), kind in kinds(), budget in budget()) {
        check(&input, &turns, kind, 0, budget);
    }

    #[test]
    fn plain_keys_probe_the_table_of_the_smaller_legs(
        keys in prop::collection::vec(0_i64..30, 0..200), turns in turns(), kind in kinds(), budget in budget()
    ) {
        let input: Vec<Vec<u8>> = keys.iter().zip(0..).map(|(key, at)| encode_vals(&[Val::Int(*key), Val::Int(at)])).collect();
        check(&input, &turns, kind, 1, budget);
    }
}

/// Counts rows.
#[derive(Default)]
struct Counted(usize);

impl RowSink for Counted {
    fn push(&mut self, _: &[Val<'_>]) -> Result<()> {
        self.0 += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn one_key_with_nearly_all_rows_of_both_legs_is_joined_in_a_small_budget() {
    let trial = Trial::with(64 << 10);
    let mut join = Join::new(JoinKind::Full, 1, vec![1, 1], trial.allowance());
    for i in 0..1000 {
        let key = if i % 10 == 0 { i } else { -1 };
        join.push(&[Val::Int(0), Val::Int(key), Val::Str(&[b'a'; 100])]).unwrap();
        join.push(&[Val::Int(1), Val::Int(key), Val::Str(&[b'b'; 100])]).unwrap();
    }
    assert!(!join.gather.runs.is_empty(), "neither leg fits");
    let mut counted = Counted::default();
    join.finish(&mut counted).unwrap();
    assert_eq!(counted.0, 900 * 900 + 100);
}

#[test]
fn a_large_leg_is_logged_while_the_small_ones_stay_in_the_table() {
    let trial = Trial::with(256 << 10);
    let mut join = Join::new(JoinKind::Left, 1, vec![1, 1], trial.allowance());
    for i in 0..20_000 {
        join.push(&[Val::Int(0), Val::Int(i), Val::Str(b"of the large leg")]).unwrap();
    }
    for i in 0..500 {
        join.push(&[Val::Int(1), Val::Int(i * 100), Val::Str(b"of the small leg")]).unwrap();
    }
    assert!(join.gather.runs.is_empty() && join.logged.as_ref().is_some_and(|(leg, _)| *leg == 0));
    let mut collected = Collected::default();
    join.finish(&mut collected).unwrap();
    assert_eq!(collected.rows.len(), 20_000);
    assert_eq!(collected.rows.iter().filter(|row| decode(row)[2] != Val::Nil).count(), 200);
}

#[test]
fn an_untagged_row_is_refused() {
    let mut join = Join::new(JoinKind::Left, 1, vec![1, 1], Trial::with(1 << 20).allowance());
    for row in [&[Val::Int(2), Val::Nil][..], &[Val::Int(0)], &[Val::Nil, Val::Nil], &[]] {
        assert!(matches!(join.push(row), Err(crate::Error::Corrupt(_))), "{row:?}");
    }
}
