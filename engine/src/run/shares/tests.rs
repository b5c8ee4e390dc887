//! Parts of a bucket: every row is in one, equal keys in the same.

use std::collections::BTreeMap;

use super::*;
use crate::op::trial::Collected;

fn parts(apart: &Apart, of: usize, rows: &[Vec<Val<'_>>]) -> Vec<usize> {
    let part = |part| {
        let (part, mut collected) = (Part { apart: apart.clone(), part, of }, Collected::default());
        let mut ours = PartOf::new(&part);
        rows.iter().for_each(|row| ours.push(row, &mut collected).unwrap());
        collected.rows.len()
    };
    (0..of).map(part).collect()
}

#[test]
fn rows_of_one_key_stay_together_and_keys_are_spread() {
    let rows: Vec<Vec<Val<'_>>> = (0..1000).map(|i| vec![Val::Int(i % 100), Val::Int(i)]).collect();
    let key = KeyOf::Row(Key::Columns(vec![0]));
    let found = parts(&Apart::ByKey(key.clone()), 4, &rows);
    assert_eq!(found.iter().sum::<usize>(), 1000);
    assert!(found.iter().all(|part| part % 10 == 0 && *part > 100), "{found:?}");
    let mut of: BTreeMap<String, usize> = BTreeMap::new();
    for row in &rows {
        let part = schedule::part_of(key.mark(row, &mut Vec::new()).unwrap(), 4);
        assert_eq!(*of.entry(format!("{:?}", row[0])).or_insert(part), part);
    }
    // Of 4 and 4.0 each is the other.
    let part = |value| key.mark(&[value], &mut Vec::new());
    assert_eq!(part(Val::Int(4)), part(Val::Float(4.0)));
}

#[test]
fn the_rows_of_one_leg_are_dealt_out_and_those_of_the_others_go_to_all() {
    let rows: Vec<Vec<Val<'_>>> = (0..100).map(|i| vec![Val::Int(i64::from(i >= 90)), Val::Int(7), Val::Int(i)]).collect();
    assert_eq!(parts(&Apart::ByRow { leg: 0 }, 3, &rows), [30 + 10, 30 + 10, 30 + 10]);
    assert_eq!(parts(&Apart::ByRow { leg: 1 }, 2, &rows), [5 + 90, 5 + 90]);
}

#[test]
fn a_row_without_its_key_is_in_every_part_and_so_reported() {
    assert_eq!(parts(&Apart::ByKey(KeyOf::Row(Key::Columns(vec![3]))), 2, &[vec![Val::Int(1)]]), [1, 1]);
}
