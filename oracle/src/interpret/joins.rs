//! Joins and coGroups: tagged rows, groups of legs, and what comes out of them.

use plan::{JoinKind, Regrouped};

use super::groups::{rest, shown};
use super::pick;
use crate::value::order_rows;
use crate::{Row, Value};

/// A row of leg `leg`, as (leg, key, values).
pub(super) fn tag(leg: u32, key: &[u32], row: &[Value]) -> Result<Row, String> {
    Ok(vec![Value::Int(i64::from(leg)), Value::List(pick(row, key)?), Value::List(rest(row, key))])
}

/// Tagged rows as one row per key: (key, values of leg 0, values of leg 1, ...).
pub(super) fn by_leg(tagged: &[Row], legs: u32) -> Vec<Row> {
    let mut tagged: Vec<(i64, Row, Value)> = tagged.iter().map(|row| split(row)).collect();
    tagged.sort_by(|a, b| order_rows(&a.1, &b.1));
    let groups = tagged.chunk_by(|a, b| order_rows(&a.1, &b.1).is_eq());
    let as_row = |group: &[(i64, Row, Value)]| {
        let key = Value::List(shown(group.iter().map(|(_, key, _)| key)));
        let of_leg = |leg| group.iter().filter(|(of, _, _)| *of == leg).map(|(_, _, values)| values.clone()).collect();
        std::iter::once(key).chain((0..i64::from(legs)).map(|leg| Value::List(of_leg(leg)))).collect()
    };
    groups.map(as_row).collect()
}

fn split(row: &[Value]) -> (i64, Row, Value) {
    match row {
        [Value::Int(leg), Value::List(key), values] => (*leg, key.clone(), values.clone()),
        other => unreachable!("only tagged rows come to a group by leg, not {other:?}"),
    }
}

fn list(value: &Value) -> &[Value] {
    match value {
        Value::List(items) => items,
        other => unreachable!("groups by leg hold lists, not {other:?}"),
    }
}

/// Key fields, then one list per leg.
pub(super) fn co_group(groups: &[Row], legs: u32) -> Vec<Row> {
    let as_items = |values: &Value| Value::List(list(values).iter().map(|item| Value::item(list(item))).collect());
    let as_row = |group: &Row| {
        let lists = group[1..=legs as usize].iter().map(as_items);
        list(&group[0]).iter().cloned().chain(lists).collect()
    };
    groups.iter().map(as_row).collect()
}

/// The lists of a coGroup as they are where some of its sides were grouped before they were joined or grouped again.
pub(super) fn regroup(rows: &[Row], kind: Option<JoinKind>, keys: usize, sides: &[Regrouped]) -> Vec<Row> {
    rows.iter().filter_map(|row| regrouped(row, kind, keys, sides)).collect()
}

fn regrouped(row: &Row, kind: Option<JoinKind>, keys: usize, sides: &[Regrouped]) -> Option<Row> {
    let (mut made, mut rest) = (row[..keys].to_vec(), &row[keys..]);
    let mut there = Vec::new();
    for side in sides {
        let (lists, others) = rest.split_at(if let Regrouped::CoGroup(count) = side { *count as usize } else { 1 });
        rest = others;
        let is_there = lists.iter().any(|one| !list(one).is_empty());
        there.push(is_there);
        match (kind, side) {
            (None, Regrouped::Rows) => made.push(lists[0].clone()),
            // The item of a row with one value is the value.
            (None, _) if is_there => made.push(Value::List(vec![Value::item(lists)])),
            (None, _) => made.push(Value::List(Vec::new())),
            (Some(_), _) if is_there => made.extend_from_slice(lists),
            (Some(_), _) => made.extend(lists.iter().map(|_| Value::Nil)),
        }
    }
    let keeps = match kind {
        None | Some(JoinKind::Full) => true,
        Some(JoinKind::Inner) => there.iter().all(|there| *there),
        Some(JoinKind::Left) => there[0],
        Some(JoinKind::Right) => there[there.len() - 1],
    };
    keeps.then_some(made)
}

/// Key fields, then the values of each leg: every combination, missing legs padded with nil.
pub(super) fn join(groups: &[Row], kind: JoinKind, legs: u32, widths: &[Option<u32>]) -> Vec<Row> {
    let widths: Vec<usize> = (0..legs as usize).map(|leg| width(groups, leg, widths)).collect();
    let kept = |group: &&Row| {
        let has = |leg: usize| !list(&group[leg + 1]).is_empty();
        match kind {
            JoinKind::Inner => (0..legs as usize).all(has),
            JoinKind::Left => has(0),
            JoinKind::Right => has(legs as usize - 1),
            JoinKind::Full => true,
        }
    };
    groups.iter().filter(kept).flat_map(|group| product(group, &widths)).collect()
}

/// The width of a leg: the known one, or that of its widest row.
fn width(groups: &[Row], leg: usize, known: &[Option<u32>]) -> usize {
    let widest = groups.iter().flat_map(|group| list(&group[leg + 1])).map(|values| list(values).len()).max();
    known[leg].map_or(widest.unwrap_or(0), |width| width as usize)
}

fn product(group: &Row, widths: &[usize]) -> Vec<Row> {
    let mut rows = vec![list(&group[0]).to_vec()];
    for (leg, width) in widths.iter().enumerate() {
        let found: Vec<Row> = list(&group[leg + 1]).iter().map(|values| list(values).to_vec()).collect();
        let found = if found.is_empty() { vec![vec![Value::Nil; *width]] } else { found };
        rows = rows.iter().flat_map(|row| found.iter().map(|values| [row.clone(), values.clone()].concat())).collect();
    }
    rows
}

/// A broadcast join is a join whose legs come from somewhere else.
pub(super) fn probe(
    big_rows: &[Row],
    others: &[&[Row]],
    kind: JoinKind,
    big: u32,
    keys: &[Vec<u32>],
    widths: &[Option<u32>],
) -> Result<Vec<Row>, String> {
    let legs = u32::try_from(keys.len()).map_err(|error| error.to_string())?;
    let mut others = others.iter();
    let mut tagged = Vec::new();
    for leg in 0..legs {
        let rows = if leg == big { Some(big_rows) } else { others.next().copied() };
        for row in rows.ok_or("a broadcast join has a side input per other leg")? {
            tagged.push(tag(leg, &keys[leg as usize], row)?);
        }
    }
    Ok(join(&by_leg(&tagged, legs), kind, legs, widths))
}
