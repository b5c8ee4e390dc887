//! Steps that make something only together, which chance alone rarely puts side by side: what the planner's rewrites look for.

use super::builder::{Builder, Extras, Made};
use super::functions::{condition, expression, operator, params};
use super::rowwise::field;
use super::shape::{Kind, MOST_ROWS, Shape};
use super::shuffles;

const NONE: Extras = Extras::new();

/// Adds a few steps that belong together, or nothing where no collection fits.
pub(super) fn add(builder: &mut Builder) {
    match builder.random.below(10) {
        0 => ordered_unions(builder),
        1 | 2 => grouped_twice(builder),
        3 => grouped_legs(builder),
        4 => filtered_join(builder),
        5 => letters_read(builder),
        6 => looked_up_in_an_operate(builder),
        7 => same_source(builder),
        8 => sorted_chain(builder),
        _ => paths_from_rows(builder),
    };
}

fn sorted(builder: &mut Builder, made: &Made) -> String {
    let order = *builder.random.pick(&["asc", "desc"]);
    builder.add_hidden(&[&made.name], &format!("sort: {{by: [{{field: 1, order: {order}}}]}}"), &NONE)
}

/// Sequences one after the other, and again with what comes of that.
fn ordered_unions(builder: &mut Builder) -> Option<()> {
    let fits = |shape: &Shape| shape.width() > 0 && shape.rows <= MOST_ROWS / 8;
    let (left, right) = (builder.choose(fits)?, builder.choose(fits)?);
    let (first, second) = (sorted(builder, &left), sorted(builder, &right));
    let shape = Shape { ordered: true, ..left.shape.or(&right.shape) };
    let inner = builder.add_hidden(&[&first, &second], "union: {ordered: true}", &NONE);
    builder.register(&inner, shape.clone());
    let outer = Shape { ordered: true, ..shape.or(&left.shape) };
    let text = if builder.random.chance(50) { "union: {ordered: true}" } else { "union: {}" };
    let outer = Shape { ordered: text.contains("true"), ..outer };
    builder.add(&[&inner, &first], text, &NONE, outer);
    Some(())
}

/// A fold, something that keeps its key, perhaps in another place, and another shuffle by that key.
fn grouped_twice(builder: &mut Builder) -> Option<()> {
    let fits = |shape: &Shape| shape.exact && shape.width() == 2 && shape.columns[1].folds() && shape.columns[0].plain();
    let made = builder.choose(fits)?;
    let (key, value) = (made.shape.columns[0], made.shape.columns[1]);
    let extras = builder.partitions(10);
    let fold = "reduceBy: {key: [1], lua: 'function(x, y) return math.max(x, y) end'}";
    let fold = if value == Kind::Text { fold.replace("math.max(x, y)", "x < y and x or y") } else { fold.to_owned() };
    let first = builder.add_hidden(&[&made.name], &fold, &extras);
    let test = condition(&mut builder.random, &made.shape);
    let (between, place) = match builder.random.below(5) {
        0 => (operator("map", "a1, a2", "return a1, a2"), 1),
        1 => (operator("map", "a1, a2", "return a2, a1"), 2),
        2 => ("select: {columns: [2, 1]}".to_owned(), 2),
        3 => (operator("filter", "a1, a2", &format!("return {test}")), 1),
        _ => (operator("flatMap", "a1, a2", "return {{a1, a2}, {a1, a2}}"), 1),
    };
    let several = between.starts_with("flatMap");
    let kept = builder.add_hidden(&[&first], &between, &NONE);
    let rows = made.shape.rows * if several { 2 } else { 1 };
    let shape = |columns: Vec<Kind>| Shape { unique: true, rows, ..Shape::of(columns, rows) };
    let extras = builder.partitions(10);
    match builder.random.below(4) {
        0 => {
            let again = fold.replace("[1]", &format!("[{place}]"));
            builder.add(&[&kept], &again, &extras, shape(vec![key, value]));
        }
        1 => {
            builder.add(&[&kept], &format!("count: {{key: [{place}]}}"), &extras, shape(vec![key, Kind::Int(MOST_ROWS)]));
        }
        2 => {
            let columns = if place == 1 { vec![key, value] } else { vec![value, key] };
            builder.add(&[&kept], &format!("distinct: {{key: [{place}]}}"), &extras, Shape::of(columns, rows));
        }
        _ => {
            let group = builder.add_hidden(&[&kept], &format!("groupBy: {{key: [{place}]}}"), &extras);
            let items = operator("map", "k, items", "return k, items[1], #items");
            let columns = vec![key, value, Kind::Int(MOST_ROWS)];
            // The items are all the same.
            builder.add(&[&group], &items, &NONE, Shape { unique: true, ..Shape::of(columns, rows) });
        }
    }
    Some(())
}

/// A join or coGroup of what is grouped by its key already.
fn grouped_legs(builder: &mut Builder) -> Option<()> {
    let fits =
        |shape: &Shape| shape.exact && shape.width() >= 1 && shape.columns.iter().all(|kind| kind.plain()) && shape.rows <= 1000;
    let legs = [builder.choose(fits)?, builder.choose(fits)?];
    let marks = builder.marks();
    let groups = legs.clone().map(|leg| builder.add_hidden(&[&leg.name], "groupBy: {key: [1]}", &NONE));
    let from = [groups[0].as_str(), groups[1].as_str()];
    let kind = *builder.random.pick(&["inner", "left", "right", "full"]);
    let (text, body) = match builder.random.below(3) {
        0 => ("coGroup: {key: [1]}".to_owned(), "return k, #l1, #l2, #(l1[1] or {}), #(l2[1] or {})"),
        _ => (
            format!("join: {{key: [1], kind: {kind}, broadcast: never}}"),
            "return k, l1 and 1 or 0, l2 and 1 or 0, #(l1 or {}), #(l2 or {})",
        ),
    };
    let joined = builder.add_hidden(&from, &text, &marks);
    let columns = [vec![legs[0].shape.columns[0].or(legs[1].shape.columns[0])], vec![Kind::Int(MOST_ROWS); 4]].concat();
    let rows = legs[0].shape.rows + legs[1].shape.rows;
    let shape = Shape { unique: true, ..Shape::of(columns, rows) };
    builder.add(&[&joined], &operator("map", "k, l1, l2", body), &NONE, shape);
    Some(())
}

/// A join, a filter that looks at its key alone, and its fields in another order.
fn filtered_join(builder: &mut Builder) -> Option<()> {
    shuffles::join(builder)?;
    let made = builder.last()?;
    let key = Shape { columns: made.shape.columns.first().copied().into_iter().collect(), ..made.shape.clone() };
    let test = condition(&mut builder.random, &key);
    let text = operator("filter", &params(&key), &format!("return {test}"));
    let kept = builder.add_hidden(&[&made.name], &text, &NONE);
    let places: Vec<usize> = (0..made.shape.width()).rev().collect();
    let named: Vec<String> = places.iter().map(|at| field(builder, &made.shape, *at)).collect();
    let shape = made.shape.mapped(places.iter().map(|at| made.shape.columns[*at]).collect());
    builder.add(&[&kept], &format!("select: {{columns: [{}]}}", named.join(", ")), &NONE, shape);
    Some(())
}

/// Rows that a step refuses, gone on with.
fn letters_read(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.width() > 0)?;
    let (text, kind) = expression(&mut builder.random, &made.shape, builder.has_prelude);
    let test = condition(&mut builder.random, &made.shape);
    let body = format!("if {test} then return {text} end error(\"unwanted\")");
    let name = builder.fresh();
    let letters = format!("{name}x");
    let policy = format!("onError: {{policy: DeadLetter, to: {letters}}}");
    builder.add_named(&name, &[&made.name], &operator("map", &params(&made.shape), &body), &vec![policy]);
    builder.add_named(&letters, &[], "distinct: {}", &NONE);
    builder.register(&name, Shape { ordered: false, ..made.shape.mapped(vec![kind]) });
    builder.register(&letters, Shape { names: None, ..made.shape.shuffled() });
    Some(())
}

/// A value or a map that an operate made, as a side input.
fn looked_up_in_an_operate(builder: &mut Builder) -> Option<()> {
    let list =
        |shape: &Shape| shape.exact && shape.width() == 1 && matches!(shape.columns[0], Kind::Int(_)) && shape.rows <= 2000;
    let (side, made) = (builder.choose(list)?, builder.choose(|shape| shape.width() > 0)?);
    builder.mark_read(&side.name);
    let sides = |from: &str, shape: &str| vec![format!("sideInputs: [{{name: all, from: {from}, as: {shape}}}]")];
    let (shape, body, found) = match builder.random.below(3) {
        0 => ("value", "emit(#all)", "all + 1"),
        1 => ("list", "emit(#all) emit(1)", "#all"),
        _ => ("map", "emit(1, #all) emit(\"a\", 2)", "all[1]"),
    };
    let operate = builder.add_hidden(&[], &operator("operate", "", body), &sides(&side.name, "list"));
    let (text, kind) = expression(&mut builder.random, &made.shape, builder.has_prelude);
    let map = operator("map", &params(&made.shape), &format!("return {text}, {found}"));
    let columns = vec![kind, Kind::Int(MOST_ROWS + 1)];
    builder.add(&[&made.name], &map, &sides(&operate, shape), made.shape.mapped(columns));
    Some(())
}

/// One file read by two steps, with the same function and with another one behind them.
fn same_source(builder: &mut Builder) -> Option<()> {
    let path = builder.file("txt", "a b\nbee cat\n\neel a\n".to_owned());
    for body in ["return #line, line", *builder.random.pick(&["return #line, line", "return #line + 1, line"])] {
        let read = builder.add_hidden(&[], &format!("read: {{text: {{paths: [{path}]}}}}"), &NONE);
        let extras = builder.marks();
        let shape = Shape::of(vec![Kind::Int(9), Kind::Text], 4);
        builder.add(&[&read], &operator("map", "line", body), &extras, shape);
    }
    Some(())
}

/// An order that goes on through steps that keep it, and ends in so many rows, or in another order.
fn sorted_chain(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.width() > 0)?;
    let sorted = sorted(builder, &made);
    let shape = Shape { ordered: true, ..made.shape.clone() };
    let test = condition(&mut builder.random, &made.shape);
    let places: Vec<usize> = (0..made.shape.width()).rev().collect();
    let (text, shape) = match builder.random.below(3) {
        0 => (operator("filter", &params(&made.shape), &format!("return {test}")), shape),
        1 => {
            let named: Vec<String> = places.iter().map(|at| (at + 1).to_string()).collect();
            let columns = places.iter().map(|at| shape.columns[*at]).collect();
            (format!("select: {{columns: [{}]}}", named.join(", ")), shape.mapped(columns))
        }
        _ => ("top: {n: 20, by: [{field: 1}]}".to_owned(), Shape { rows: shape.rows.min(20), ..shape }),
    };
    let kept = builder.add_hidden(&[&sorted], &text, &NONE);
    let n = *builder.random.pick(&[1, 3, 12]);
    let text = match builder.random.below(3) {
        0 => format!("limit: {{\"n\": {n}}}"),
        1 => format!("limit: {{\"n\": {n}, offset: 2}}"),
        _ => "sort: {by: [{field: 1, order: desc}]}".to_owned(),
    };
    let rows = if text.starts_with("limit") { shape.rows.min(n) } else { shape.rows };
    builder.add(&[&kept], &text, &NONE, Shape { rows, ..shape });
    Some(())
}

/// A source whose files are rows of another step.
fn paths_from_rows(builder: &mut Builder) -> Option<()> {
    let paths = [builder.file("txt", "one\ntwo\n".to_owned()), builder.file("txt", "three".to_owned())];
    let rows = builder.add_hidden(&[], &format!("read: {{inline: {{lines: [{}]}}}}", paths.join(", ")), &NONE);
    let named = builder.add_hidden(&[&rows], &operator("map", "path", "return path"), &NONE);
    let read = builder.add_named_read(&format!("read: {{text: {{pathsFrom: {named}}}}}"));
    builder.register(&read, Shape::of(vec![Kind::Text], 3));
    Some(())
}
