//! Random steps that bring rows together: groups, joins, unions, orders, and what moves rows elsewhere.

use super::builder::{Builder, Extras, Made};
use super::functions::{fold, operator};
use super::rowwise::field;
use super::shape::{Kind, MOST_ROWS, Shape};

/// Adds one step (or two that belong together), or nothing where no collection fits.
pub(super) fn add(builder: &mut Builder) {
    match builder.random.below(100) {
        0..=14 => reduce_by(builder),
        15..=18 => reduce(builder),
        19..=28 => group_by(builder),
        29..=34 => co_group(builder),
        35..=49 => join(builder),
        50..=61 => union(builder),
        62..=68 => distinct(builder),
        69..=75 => count(builder),
        76..=81 => sort(builder),
        82..=86 => top(builder),
        87..=91 => limit(builder),
        92..=97 => moved(builder),
        _ => whole_pipe(builder),
    };
}

/// One to two different columns (0-based) for a key.
fn key(builder: &mut Builder, shape: &Shape) -> Vec<usize> {
    let first = builder.random.below(shape.width());
    let second = builder.random.below(shape.width());
    if second == first || builder.random.chance(70) { vec![first] } else { vec![first, second] }
}

fn fields(builder: &mut Builder, shape: &Shape, columns: &[usize]) -> String {
    let named: Vec<String> = columns.iter().map(|at| field(builder, shape, *at)).collect();
    format!("[{}]", named.join(", "))
}

fn kinds(shape: &Shape, columns: &[usize]) -> Vec<Kind> {
    columns.iter().map(|at| shape.columns[*at]).collect()
}

fn marks(builder: &mut Builder) -> Extras {
    let mut extras = builder.partitions(25);
    extras.extend(builder.marks());
    extras
}

/// A fold of all value columns: its parameters, its body, and the kinds of what it gives.
fn folding(builder: &mut Builder, shape: &Shape, values: &[usize]) -> (String, String, Vec<Kind>) {
    let names = |prefix: &str| (1..=values.len()).map(|at| format!("{prefix}{at}")).collect::<Vec<_>>();
    let (xs, ys) = (names("x"), names("y"));
    let mut made = Vec::new();
    for (at, column) in values.iter().enumerate() {
        made.push(fold(&mut builder.random, shape.columns[*column], &xs[at], &ys[at], shape.rows));
    }
    let body: Vec<String> = made.iter().map(|(text, _)| text.clone()).collect();
    let kinds = made.iter().zip(values).map(|((_, kind), column)| kind.or(shape.columns[*column])).collect();
    ([xs, ys].concat().join(", "), format!("return {}", body.join(", ")), kinds)
}

/// A collection whose columns outside some key can all be folded.
fn foldable(builder: &mut Builder) -> Option<(Made, Vec<usize>, Vec<usize>)> {
    let fits = |shape: &Shape| {
        let others = shape.columns.iter().filter(|kind| !kind.folds()).count();
        shape.exact && shape.width() >= 2 && others <= 1
    };
    let made = builder.choose(fits)?;
    let must = made.shape.columns_where(|kind| !kind.folds());
    let key = if must.is_empty() { vec![builder.random.below(made.shape.width())] } else { must };
    let values = made.shape.rest(&key);
    Some((made, key, values))
}

fn reduce_by(builder: &mut Builder) -> Option<()> {
    let (made, key, values) = foldable(builder)?;
    let (params, body, folded) = folding(builder, &made.shape, &values);
    let mut shape = made.shape.mapped([kinds(&made.shape, &key), folded].concat()).shuffled();
    shape.unique = true;
    let extras = marks(builder);
    let key = fields(builder, &made.shape, &key);
    let text = operator("reduceBy", &params, &body).replacen("{lua", &format!("{{key: {key}, lua"), 1);
    if builder.random.chance(30) {
        let group = builder.add_hidden(&[&made.name], &format!("groupBy: {{key: {key}}}"), &extras);
        builder.add(&[&group], &operator("combine", &params, &body), &Vec::new(), shape);
    } else {
        builder.add(&[&made.name], &text, &extras, shape);
    }
    Some(())
}

fn reduce(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.exact && shape.width() >= 1 && shape.columns.iter().all(|kind| kind.folds()))?;
    let all: Vec<usize> = (0..made.shape.width()).collect();
    let (params, body, folded) = folding(builder, &made.shape, &all);
    builder.add(&[&made.name], &operator("reduce", &params, &body), &Vec::new(), Shape::of(folded, 1));
    Some(())
}

/// Lists in order, or lists of which only what has no order is looked at.
fn group_by(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.exact && shape.width() >= 1 && shape.rows <= 5000)?;
    let key = key(builder, &made.shape);
    let values = made.shape.rest(&key);
    let plain = values.iter().all(|at| made.shape.columns[*at].plain());
    let keys = kinds(&made.shape, &key);
    let extras = marks(builder);
    let named = fields(builder, &made.shape, &key);
    if plain && !values.is_empty() && builder.random.chance(50) {
        let mut by = Vec::new();
        for at in &values {
            let order = if builder.random.chance(30) { ", order: desc" } else { "" };
            by.push(format!("{{field: {}{order}}}", field(builder, &made.shape, *at)));
        }
        let text = format!("groupBy: {{key: {named}, orderBy: [{}]}}", by.join(", "));
        let mut shape = made.shape.mapped([keys, vec![Kind::Any]].concat()).shuffled();
        shape.unique = true;
        builder.add(&[&made.name], &text, &extras, shape);
        return Some(());
    }
    let group = builder.add_hidden(&[&made.name], &format!("groupBy: {{key: {named}}}"), &extras);
    let params: Vec<String> = (1..=key.len()).map(|at| format!("k{at}")).collect();
    let params = params.join(", ");
    let sums = values.len() == 1 && matches!(made.shape.columns[values[0]], Kind::Int(_));
    let body = if sums {
        format!("local sum = 0 for _, item in ipairs(items) do sum = (sum + item) % 997 end return {params}, sum, #items")
    } else if plain {
        format!("return {params}, #items")
    } else {
        format!("return {params}, type(items)")
    };
    let made_columns = if sums {
        vec![Kind::Int(997), Kind::Int(MOST_ROWS)]
    } else if plain {
        vec![Kind::Int(MOST_ROWS)]
    } else {
        vec![Kind::Text]
    };
    let shape = made.shape.mapped([keys, made_columns].concat()).shuffled();
    builder.add(&[&group], &operator("map", &format!("{params}, items"), &body), &Vec::new(), shape);
    Some(())
}

/// Two or three inputs with key columns where all have them; often those of the step of this kind before.
fn legs(builder: &mut Builder, fits: impl Fn(&Shape) -> bool) -> Option<(Vec<Made>, Vec<usize>)> {
    if builder.random.chance(25)
        && let Some((legs, key)) = builder.legs.clone()
        && legs.iter().all(|leg| fits(&leg.shape))
    {
        return Some((legs, key));
    }
    let found = other_legs(builder, fits)?;
    builder.legs = Some(found.clone());
    Some(found)
}

fn other_legs(builder: &mut Builder, fits: impl Fn(&Shape) -> bool) -> Option<(Vec<Made>, Vec<usize>)> {
    let mut legs = vec![builder.choose(&fits)?];
    for _ in 0..if builder.random.chance(20) { 2 } else { 1 } {
        legs.push(if builder.random.chance(15) { legs[0].clone() } else { builder.choose(&fits)? });
    }
    let width = legs.iter().map(|leg| leg.shape.width()).min()?;
    let first = builder.random.below(width);
    let second = builder.random.below(width);
    let key = if second == first || builder.random.chance(80) { vec![first] } else { vec![first, second] };
    Some((legs, key))
}

fn positions(columns: &[usize]) -> String {
    let columns: Vec<String> = columns.iter().map(|at| (at + 1).to_string()).collect();
    format!("[{}]", columns.join(", "))
}

fn names(legs: &[Made]) -> Vec<&str> {
    legs.iter().map(|leg| leg.name.as_str()).collect()
}

/// The kinds of the key columns over all legs.
fn key_kinds(legs: &[Made], key: &[usize]) -> Vec<Kind> {
    let over_legs = |at: &usize| legs.iter().map(|leg| leg.shape.columns[*at]).reduce(Kind::or).unwrap_or(Kind::Any);
    key.iter().map(over_legs).collect()
}

fn co_group(builder: &mut Builder) -> Option<()> {
    let (legs, key) = legs(builder, |shape| {
        shape.exact && shape.width() >= 1 && shape.columns.iter().all(|kind| kind.plain()) && shape.rows <= 3000
    })?;
    let extras = marks(builder);
    let group = builder.add_hidden(&names(&legs), &format!("coGroup: {{key: {}}}", positions(&key)), &extras);
    let keys: Vec<String> = (1..=key.len()).map(|at| format!("k{at}")).collect();
    let lists: Vec<String> = (1..=legs.len()).map(|at| format!("l{at}")).collect();
    let sizes: Vec<String> = lists.iter().map(|list| format!("#{list}")).collect();
    let body = format!("return {}, {}", keys.join(", "), sizes.join(", "));
    let columns = [key_kinds(&legs, &key), vec![Kind::Int(MOST_ROWS); legs.len()]].concat();
    let shape = Shape::of(columns, legs.iter().map(|leg| leg.shape.rows).sum());
    builder.add(&[&group], &operator("map", &[keys, lists].concat().join(", "), &body), &Vec::new(), shape);
    Some(())
}

pub(super) fn join(builder: &mut Builder) -> Option<()> {
    let (legs, key) = legs(builder, |shape| shape.width() >= 1 && shape.rows <= 2000)?;
    let product: u64 = legs.iter().map(|leg| leg.shape.rows.max(1)).product();
    if product > MOST_ROWS {
        return None;
    }
    let kind = *builder.random.pick(&["", "inner", "left", "right", "full"]);
    let mut options = if kind.is_empty() { String::new() } else { format!(", kind: {kind}") };
    let broadcasts: &[&str] =
        if matches!(kind, "" | "inner" | "left") { &["auto", "always", "never"] } else { &["auto", "never"] };
    if builder.random.chance(40) {
        options.push_str(&format!(", broadcast: {}", builder.random.pick(broadcasts)));
    }
    let inner = matches!(kind, "" | "inner");
    let mut shape = Shape::of(key_kinds(&legs, &key), product.saturating_mul(2).min(product + 4000));
    for leg in &legs {
        // What is behind a row of unknown width is at no known place.
        if inner && shape.exact {
            shape.columns.extend(kinds(&leg.shape, &leg.shape.rest(&key)));
            shape.exact = leg.shape.exact;
        } else {
            shape.exact = false;
        }
    }
    let extras = marks(builder);
    let text = format!("join: {{key: {}{options}}}", positions(&key));
    builder.add(&names(&legs), &text, &extras, shape);
    Some(())
}

fn union(builder: &mut Builder) -> Option<()> {
    let mut inputs = vec![builder.choose(|shape| shape.rows <= MOST_ROWS / 2)?];
    for _ in 0..builder.random.below(3) {
        inputs.push(if builder.random.chance(25) {
            inputs[0].clone()
        } else {
            builder.choose(|shape| shape.rows <= MOST_ROWS / 4)?
        });
    }
    let shape = inputs.iter().map(|made| made.shape.clone()).reduce(|a, b| a.or(&b))?;
    if shape.rows > MOST_ROWS {
        return None;
    }
    let ordered = shape.ordered && builder.random.chance(60);
    let text = if ordered { "union: {ordered: true}" } else { "union: {}" };
    let shape = Shape { ordered, unique: false, ..shape };
    let extras = builder.marks();
    builder.add(&names(&inputs), text, &extras, shape);
    Some(())
}

fn distinct(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.width() > 0)?;
    let text = if builder.random.chance(50) {
        "distinct: {}".to_owned()
    } else {
        let key = key(builder, &made.shape);
        format!("distinct: {{key: {}}}", fields(builder, &made.shape, &key))
    };
    let extras = marks(builder);
    builder.add(&[&made.name], &text, &extras, made.shape.shuffled());
    Some(())
}

fn count(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.width() > 0)?;
    let extras = marks(builder);
    if made.shape.exact && builder.random.chance(30) {
        let shape = made.shape.mapped([made.shape.columns.clone(), vec![Kind::Int(MOST_ROWS)]].concat()).shuffled();
        builder.add(&[&made.name], "count: {}", &extras, shape);
        return Some(());
    }
    let key = key(builder, &made.shape);
    let mut shape = made.shape.mapped([kinds(&made.shape, &key), vec![Kind::Int(MOST_ROWS)]].concat()).shuffled();
    shape.unique = key.len() == 1;
    let named = fields(builder, &made.shape, &key);
    builder.add(&[&made.name], &format!("count: {{key: {named}}}"), &extras, shape);
    Some(())
}

fn by(builder: &mut Builder, shape: &Shape) -> String {
    let mut components = Vec::new();
    for at in key(builder, shape) {
        let order = *builder.random.pick(&["", ", order: desc", ", order: asc"]);
        components.push(format!("{{field: {}{order}}}", field(builder, shape, at)));
    }
    format!("by: [{}]", components.join(", "))
}

fn sort(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.width() > 0)?;
    let by = by(builder, &made.shape);
    let extras = marks(builder);
    let shape = Shape { ordered: true, ..made.shape };
    builder.add(&[&made.name], &format!("sort: {{{by}}}"), &extras, shape);
    Some(())
}

fn top(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.width() > 0)?;
    let by = by(builder, &made.shape);
    let n = *builder.random.pick(&[1, 3, 10, 100]);
    let shape = Shape { ordered: true, rows: made.shape.rows.min(n), ..made.shape };
    builder.add(&[&made.name], &format!("top: {{n: {n}, {by}}}"), &Vec::new(), shape);
    Some(())
}

fn limit(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|_| true)?;
    let n = *builder.random.pick(&[0, 1, 4, 30]);
    let offset = *builder.random.pick(&[0, 0, 2, 50]);
    let text = if offset == 0 { format!("limit: {{\"n\": {n}}}") } else { format!("limit: {{n: {n}, offset: {offset}}}") };
    if made.shape.ordered {
        let shape = Shape { rows: made.shape.rows.min(n), ..made.shape };
        builder.add(&[&made.name], &text, &Vec::new(), shape);
    } else {
        // Any rows would do: only their number can be checked, so nothing else reads them.
        let limited = builder.add_hidden(&[&made.name], &text, &Vec::new());
        builder.write(&limited, &made.shape);
    }
    Some(())
}

fn moved(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.width() > 0)?;
    let mut shape = made.shape.shuffled();
    let mut extras = builder.partitions(60);
    extras.extend(builder.marks());
    let text = match builder.random.below(4) {
        0 => {
            let key = key(builder, &made.shape);
            format!("partition: {{key: {}}}", fields(builder, &made.shape, &key))
        }
        1 => "roundRobin: {}".to_owned(),
        2 => "merge: {}".to_owned(),
        _ => {
            shape.ordered = true;
            format!("merge: {{{}}}", by(builder, &made.shape))
        }
    };
    builder.add(&[&made.name], &text, &extras, shape);
    Some(())
}

/// A pipe that looks at everything, behind a merge.
fn whole_pipe(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.exact && shape.width() > 0 && !shape.columns.iter().any(|kind| kind.is_list()))?;
    let merged = builder.add_hidden(&[&made.name], "merge: {}", &Vec::new());
    let (command, columns) = match builder.random.below(2) {
        0 => ("LC_ALL=C sort | uniq -c | sed ''s/^ *//; s/\\t.*//''", vec![Kind::Text]),
        _ => ("wc -l | tr -d '' ''", vec![Kind::Text]),
    };
    let shape = Shape::of(columns, made.shape.rows.max(1));
    builder.add(&[&merged], &format!("pipe: {{command: '{command}'}}"), &Vec::new(), shape);
    Some(())
}
