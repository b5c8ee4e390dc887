//! Broadcast joins against nested loops.

use proptest::prelude::*;

use super::*;
use crate::op::join::tests::{naive, tagged};
use crate::op::trial::{Collected, Trial, decode, encode_vals, rows, sorted};

fn log_of(trial: &Trial, rows: &[Vec<u8>]) -> BatchLog {
    let mut log = trial.allowance().log();
    for row in rows {
        log.push(&decode(row)).unwrap();
    }
    log.seal().unwrap();
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_big_leg_probes_the_others(input in rows(2..=3, 60), which in 0_usize..4) {
        let (kind, big) = [(JoinKind::Inner, 0), (JoinKind::Inner, 1), (JoinKind::Left, 0), (JoinKind::Right, 2)][which];
        // Each leg has its key in another column; the naive join wants it in front.
        let keys = vec![vec![0], vec![1], vec![0]];
        let keyed = |leg: usize, row: &[u8]| {
            let row = decode(row);
            let column = keys[leg][0];
            let others: Vec<Val<'_>> = rest(&row, &[column]).collect();
            encode_vals(&[&[row[column as usize]], &others[..]].concat())
        };
        // Of one key in the big leg only one representation, since its rows are joined one by one.
        let input: Vec<Vec<u8>> = input.into_iter().filter(|row| decode(row).iter().all(|value| !matches!(value, Val::Float(_) | Val::List(_)))).collect();
        let of_leg = |leg: usize| input.iter().skip(leg).step_by(3).cloned().collect::<Vec<_>>();
        let all: Vec<Vec<u8>> = input.iter().enumerate().map(|(at, row)| keyed(at % 3, row)).collect();
        let known = which % 2 == 0;
        let widest = |leg: usize| of_leg(leg).iter().map(|row| decode(row).len() - 1).max().unwrap_or(0);
        let widths: Vec<usize> = (0..3).map(|leg| if known { leg + 1 } else { widest(leg) }).collect();
        let expected = naive(&tagged(&all, &[0, 1, 2]), &Shape { kind, widths: widths.clone() }, 1);

        let trial = Trial::with(64 << 20);
        let sides: Vec<BatchLog> = (0..3).filter(|leg| *leg != big).map(|leg| log_of(&trial, &of_leg(leg))).collect();
        let widths = widths.into_iter().map(|width| known.then_some(width)).collect();
        let spec = ProbeSpec { kind, big, keys: keys.clone(), widths };
        let table = Arc::new(ProbeTable::build(spec, &sides.iter().collect::<Vec<_>>(), &trial.allowance()).unwrap());
        let (mut join, mut collected) = (ProbeJoin::new(table, "trial".to_owned()), Collected::default());
        for row in of_leg(big) {
            join.push(&decode(&row), &mut collected).unwrap();
        }
        prop_assert_eq!(sorted(collected.rows), sorted(expected));
    }
}

fn table(kind: JoinKind, big: usize, side: &[Vec<u8>], budget: usize) -> Result<ProbeTable> {
    let trial = Trial::with(budget);
    let spec = ProbeSpec { kind, big, keys: vec![vec![0]; 2], widths: vec![None; 2] };
    ProbeTable::build(spec, &[&log_of(&trial, side)], &trial.allowance())
}

#[test]
fn the_integer_of_4_and_its_float_shows_whichever_side_has_it() {
    for (side, probe, shown) in [
        (Val::Int(4), Val::Float(4.0), Val::Int(4)),
        (Val::Float(4.0), Val::Int(4), Val::Int(4)),
        (Val::Float(-0.0), Val::Float(0.0), Val::Float(-0.0)),
    ] {
        let table = table(JoinKind::Inner, 0, &[encode_vals(&[side, Val::Nil])], 1 << 20).unwrap();
        let mut collected = Collected::default();
        ProbeJoin::new(Arc::new(table), "trial".to_owned()).push(&[probe], &mut collected).unwrap();
        assert_eq!(collected.rows, [encode_vals(&[shown, Val::Nil])]);
    }
}

#[test]
fn kinds_that_need_every_row_of_a_small_leg_are_refused() {
    for (kind, big) in [(JoinKind::Full, 0), (JoinKind::Left, 1), (JoinKind::Right, 0)] {
        assert!(matches!(table(kind, big, &[], 1 << 20), Err(Error::Plan(_))), "{kind:?}");
    }
}

#[test]
fn a_side_that_does_not_fit_fails_with_its_size() {
    let side: Vec<Vec<u8>> = (0..1000).map(|i| encode_vals(&[Val::Int(i), Val::Str(&[b'x'; 50])])).collect();
    let error = table(JoinKind::Inner, 0, &side, 8 << 10).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("a broadcast side of a join does not fit into memory"), "{source}");
}
