//! Lua text for rows of a known shape: deterministic, without state, exact.

use super::shape::{Kind, MOST_VALUE, Shape};
use crate::Random;

/// `a1, a2, ...`: a parameter per known column.
pub(super) fn params(shape: &Shape) -> String {
    (1..=shape.width()).map(|at| format!("a{at}")).collect::<Vec<_>>().join(", ")
}

/// A step's operator with one function: `map: {lua: 'function(...) ... end'}`.
pub(super) fn operator(name: &str, params: &str, body: &str) -> String {
    format!("{name}: {{lua: '{}'}}", function(params, body))
}

/// A function expression as a single-quoted YAML scalar holds it.
pub(super) fn function(params: &str, body: &str) -> String {
    format!("function({params}) {body} end").replace('\'', "''")
}

/// An expression over one row, and what it gives.
pub(super) fn expression(random: &mut Random, shape: &Shape, prelude: bool) -> (String, Kind) {
    if shape.width() == 0 || random.chance(6) {
        let constants = [
            ("7", Kind::Int(7)),
            ("\"k\"", Kind::Text),
            ("nil", Kind::Scalar),
            ("true", Kind::Scalar),
            ("0.25", Kind::Number(1)),
        ];
        let (text, kind) = *random.pick(&constants);
        return (text.to_owned(), kind);
    }
    let at = random.below(shape.width());
    let name = format!("a{}", at + 1);
    match shape.columns[at] {
        Kind::Int(most) => of_integer(random, shape, &name, most, prelude),
        Kind::Number(most) => of_number(random, &name, most),
        Kind::Text => of_text(random, &name),
        Kind::Scalar => of_scalar(random, &name, Kind::Scalar),
        Kind::Any => of_scalar(random, &name, Kind::Any),
    }
}

fn of_integer(random: &mut Random, shape: &Shape, name: &str, most: u64, prelude: bool) -> (String, Kind) {
    let others = shape.columns_where(|kind| matches!(kind, Kind::Int(_)));
    let other = format!("a{}", random.pick(&others) + 1);
    match random.below(9) {
        0 if most < MOST_VALUE / 4 => (format!("{name} + 1"), Kind::Int(most + 1)),
        1 if most < MOST_VALUE / 4 => (format!("2 * {name}"), Kind::Int(2 * most)),
        2 => (format!("({name} * 3 + {other}) % 101"), Kind::Int(101)),
        3 => (format!("{name} % $(params.seven)"), Kind::Int(7)),
        4 => (format!("-{name}"), Kind::Int(most)),
        5 => (format!("\"n\" .. {name} % 5"), Kind::Text),
        6 if prelude && most < MOST_VALUE / 4 => (format!("bump({name})"), Kind::Int(most + 3)),
        7 => (format!("{name} > {other}"), Kind::Scalar),
        _ => (name.to_owned(), Kind::Int(most)),
    }
}

fn of_number(random: &mut Random, name: &str, most: u64) -> (String, Kind) {
    match random.below(5) {
        0 if most < MOST_VALUE / 4 => (format!("{name} + 0.5"), Kind::Number(most + 1)),
        1 => (format!("math.floor({name})"), Kind::Int(most + 1)),
        2 => (format!("{name} < 2"), Kind::Scalar),
        3 => (format!("-{name}"), Kind::Number(most)),
        _ => (name.to_owned(), Kind::Number(most)),
    }
}

fn of_text(random: &mut Random, name: &str) -> (String, Kind) {
    match random.below(8) {
        0 => (format!("{name}:lower()"), Kind::Text),
        1 => (format!("{name}:upper()"), Kind::Text),
        2 => (format!("{name}:sub(1, 3)"), Kind::Text),
        3 => (format!("{name}:sub(1, 8) .. \"!\""), Kind::Text),
        4 => (format!("#{name}"), Kind::Int(200)),
        5 => (format!("{name} == \"a\" and 1 or 0"), Kind::Int(1)),
        6 => (format!("({name}:gsub(\"a\", \"o\"))"), Kind::Text),
        _ => (name.to_owned(), Kind::Text),
    }
}

fn of_scalar(random: &mut Random, name: &str, kind: Kind) -> (String, Kind) {
    match random.below(5) {
        0 => (format!("type({name})"), Kind::Text),
        1 => (format!("{name} == nil"), Kind::Scalar),
        2 => (format!("type({name}) == \"number\" and 1 or 0"), Kind::Int(1)),
        _ => (name.to_owned(), kind),
    }
}

/// A condition over one row.
pub(super) fn condition(random: &mut Random, shape: &Shape) -> String {
    if shape.width() == 0 {
        return "true".to_owned();
    }
    let at = random.below(shape.width());
    let name = format!("a{}", at + 1);
    let conditions = match shape.columns[at] {
        Kind::Int(_) => {
            vec![format!("{name} % 3 ~= 0"), format!("{name} > 4"), format!("{name} <= 12"), format!("not ({name} == 2)")]
        }
        Kind::Number(_) => vec![format!("{name} >= 1"), format!("{name} * 2 ~= 3")],
        Kind::Text => {
            vec![format!("{name} ~= \"\""), format!("#{name} > 2"), format!("{name}:find(\"a\")"), format!("{name} < \"c\"")]
        }
        Kind::Scalar | Kind::Any => vec![format!("{name} ~= nil"), name.clone(), format!("type({name}) ~= \"boolean\"")],
    };
    let found = random.pick(&conditions).clone();
    if random.chance(3) { "false".to_owned() } else { found }
}

/// A fold of two values of a kind that is the same in any order, and what it gives over so many rows.
pub(super) fn fold(random: &mut Random, kind: Kind, x: &str, y: &str, rows: u64) -> (String, Kind) {
    let sum = |most: u64| most.saturating_mul(rows.max(1)).saturating_add(1);
    match (kind, random.below(4)) {
        (Kind::Int(most), 0 | 1) if sum(most) < MOST_VALUE => (format!("{x} + {y}"), Kind::Int(sum(most))),
        (Kind::Number(most), 0 | 1) if sum(most) < MOST_VALUE => (format!("{x} + {y}"), Kind::Number(sum(most))),
        (Kind::Int(_) | Kind::Number(_), 0..=2) => (format!("math.max({x}, {y})"), kind),
        (Kind::Int(_) | Kind::Number(_), _) => (format!("{x} < {y} and {x} or {y}"), kind),
        (_, 0..=1) => (format!("{x} < {y} and {x} or {y}"), kind),
        (_, _) => (format!("{x} > {y} and {x} or {y}"), kind),
    }
}
