//! Random steps that work row by row: functions of all sorts, projections, pipes.

use super::builder::{Builder, Extras};
use super::functions::{condition, expression, function, operator, params};
use super::shape::{Kind, MOST_ROWS, Shape};

/// Adds one step, or nothing where no collection fits.
pub(super) fn add(builder: &mut Builder) {
    match builder.random.below(100) {
        0..=29 => map(builder),
        30..=44 => filter(builder),
        45..=56 => flat_map(builder),
        57..=62 => for_each(builder),
        63..=70 => parallel_do(builder),
        71..=79 => select(builder),
        80..=84 => pipe(builder),
        85..=87 => pipe_as_args(builder),
        88..=93 => looking_up(builder),
        94..=96 => operate(builder),
        _ => set_aside(builder),
    };
}

/// `return` values of an expression each, and their kinds.
fn values(builder: &mut Builder, shape: &Shape, count: usize) -> (String, Vec<Kind>) {
    let prelude = builder.has_prelude;
    let made: Vec<_> = (0..count).map(|_| expression(&mut builder.random, shape, prelude)).collect();
    let texts: Vec<_> = made.iter().map(|(text, _)| text.clone()).collect();
    (texts.join(", "), made.into_iter().map(|(_, kind)| kind).collect())
}

fn map(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|_| true)?;
    let count = builder.random.below(4) + 1;
    let (text, kinds) = values(builder, &made.shape, count);
    let mut shape = made.shape.mapped(kinds);
    let test = condition(&mut builder.random, &made.shape);
    let (params, body) = match builder.random.below(12) {
        0 => (params(&made.shape), format!("if {test} then return {text} end")),
        1 => {
            shape.columns.truncate(1);
            shape.exact = false;
            let first = text.split(", ").next().unwrap_or("nil").to_owned();
            let both = if count == 1 { format!("{first}, nil") } else { text };
            // A text may hold commas itself; then the first value is cut and would not compile.
            if first.matches('(').count() != first.matches(')').count() {
                return None;
            }
            (params(&made.shape), format!("if {test} then return {first} else return {both} end"))
        }
        2 if made.shape.columns.iter().all(|kind| matches!(kind, Kind::Int(_) | Kind::Text)) && made.shape.width() > 0 => {
            shape = Shape { names: None, unique: false, ..made.shape.clone() };
            ("...".to_owned(), "return ...".to_owned())
        }
        3 => (params(&made.shape), format!("local function twice(...) return ... end return twice({text})")),
        _ => (params(&made.shape), format!("return {text}")),
    };
    let mut extras = builder.marks();
    name_fields(builder, &mut shape, &mut extras);
    builder.add(&[&made.name], &operator("map", &params, &body), &extras, shape);
    Some(())
}

/// Maybe names for the fields.
fn name_fields(builder: &mut Builder, shape: &mut Shape, extras: &mut Extras) {
    if shape.exact && builder.random.chance(25) {
        let names: Vec<String> = (1..=shape.width()).map(|at| format!("f{at}")).collect();
        extras.push(format!("fields: [{}]", names.join(", ")));
        shape.names = Some(names);
    }
}

fn filter(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|_| true)?;
    let test = condition(&mut builder.random, &made.shape);
    let extras = builder.marks();
    let text = operator("filter", &params(&made.shape), &format!("return {test}"));
    builder.add(&[&made.name], &text, &extras, made.shape);
    Some(())
}

fn flat_map(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.rows * 6 <= MOST_ROWS)?;
    let (text, kinds) = values(builder, &made.shape, 2);
    let (first, second) = (kinds[0], kinds[1]);
    let texts = made.shape.columns_where(|kind| kind == Kind::Text);
    let (body, columns, times) = match builder.random.below(6) {
        0 | 1 if !texts.is_empty() => {
            let at = builder.random.pick(&texts) + 1;
            (format!("return a{at}:gmatch(\"%w+\")"), vec![Kind::Text], 6)
        }
        2 => (format!("return {{{{{text}}}, {{{text}}}}}"), vec![first, second], 2),
        3 => {
            let body = format!("local n = 0 return function() n = n + 1 if n <= 3 then return n, {text} end end");
            (body, vec![Kind::Int(3), first, second], 3)
        }
        4 => (format!("return ipairs({{\"x\", \"y\", (\"z\"):rep(2)}}), nil, 0, {text}"), vec![], 0),
        _ => ("return coroutine.wrap(function() coroutine.yield(1) coroutine.yield(2) end)".to_owned(), vec![Kind::Int(2)], 2),
    };
    // A list with a hole would lose what is behind it.
    let holes = times == 2 && columns.len() == 2 && !(first.plain() && second.plain());
    if times == 0 || holes {
        return None;
    }
    let mut shape = made.shape.mapped(columns);
    shape.rows = made.shape.rows * times;
    shape.ordered = made.shape.ordered;
    let extras = builder.marks();
    builder.add(&[&made.name], &operator("flatMap", &params(&made.shape), &body), &extras, shape);
    Some(())
}

fn for_each(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.rows * 2 <= MOST_ROWS)?;
    let (text, kinds) = values(builder, &made.shape, 2);
    let test = condition(&mut builder.random, &made.shape);
    let mut shape = made.shape.mapped(kinds);
    shape.rows *= 2;
    shape.ordered = false;
    let body = format!("emit({text}) if {test} then emit({text}) end");
    builder.add(&[&made.name], &operator("forEach", &params(&made.shape), &body), &Vec::new(), shape);
    Some(())
}

fn parallel_do(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.rows * 2 <= MOST_ROWS)?;
    let (left, left_kinds) = values(builder, &made.shape, 1);
    let (right, right_kinds) = values(builder, &made.shape, 2);
    let test = condition(&mut builder.random, &made.shape);
    let body = format!("if {test} then emit.kept({left}) else emit.other({right}) emit.other({right}) end");
    let name = builder.fresh();
    let text = format!("parallelDo: {{outputs: [kept, other], lua: '{}'}}", function(&params(&made.shape), &body));
    builder.add_named(&name, &[&made.name], &text, &Vec::new());
    for (output, kinds, times) in [("kept", left_kinds, 1), ("other", right_kinds, 2)] {
        let mut shape = made.shape.mapped(kinds);
        shape.rows *= times;
        shape.ordered = false;
        builder.register(&format!("{name}.{output}"), shape);
    }
    Some(())
}

fn select(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| shape.width() > 0)?;
    let count = builder.random.below(made.shape.width()) + 1;
    let columns: Vec<usize> = (0..count).map(|_| builder.random.below(made.shape.width())).collect();
    let shape = made.shape.mapped(columns.iter().map(|at| made.shape.columns[*at]).collect());
    let named = columns.iter().map(|at| field(builder, &made.shape, *at)).collect::<Vec<_>>();
    let extras = builder.marks();
    builder.add(&[&made.name], &format!("select: {{columns: [{}]}}", named.join(", ")), &extras, shape);
    Some(())
}

/// How a step names a field: its 1-based position, or its name where it has one.
pub(super) fn field(builder: &mut Builder, shape: &Shape, at: usize) -> String {
    match &shape.names {
        Some(names) if builder.random.chance(50) => names[at].clone(),
        _ => (at + 1).to_string(),
    }
}

fn pipe(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|shape| !shape.columns.iter().any(|kind| kind.is_list()) && shape.exact && shape.width() > 0)?;
    let all = vec![Kind::Text; made.shape.width()];
    let (command, columns) = match builder.random.below(5) {
        0 => ("tr a-z A-Z", all),
        1 => ("sed ''s/a/<&>/g''", all),
        2 => ("grep -v Zebra || true", all),
        3 => ("awk -F ''\\t'' ''{print $1 \"-\" NF}''", vec![Kind::Text]),
        _ => ("cat", all),
    };
    let mut shape = made.shape.mapped(columns);
    shape.ordered = false;
    builder.add(&[&made.name], &format!("pipe: {{command: '{command}'}}"), &Vec::new(), shape);
    Some(())
}

fn pipe_as_args(builder: &mut Builder) -> Option<()> {
    let fits = |shape: &Shape| shape.rows <= 12 && shape.width() > 0 && !shape.columns.iter().any(|kind| kind.is_list());
    let made = builder.choose(fits)?;
    let (command, mut shape) = match builder.random.below(2) {
        0 => ("printf ''%s\\n'' \"$1\"", made.shape.mapped(vec![Kind::Text])),
        _ => ("printf ''%s:%s\\n'' \"$#\" \"$1\" x y", made.shape.mapped(vec![Kind::Text])),
    };
    if command.contains("$#") && !made.shape.exact {
        return None;
    }
    shape.rows *= 2;
    shape.ordered = false;
    builder.add(&[&made.name], &format!("pipeAsArgs: {{command: '{command}'}}"), &Vec::new(), shape);
    Some(())
}

/// A map with a side input: a value, a list or a map.
fn looking_up(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|_| true)?;
    let width = made.shape.width();
    let (side, shape_of_side, found, kind) = match builder.random.below(3) {
        0 => {
            let constant = builder.random.between(1, 9);
            let side = builder.add_hidden(&[], &format!("read: {{inline: {{rows: [[{constant}]]}}}}"), &Vec::new());
            (side, "value", "lookup + 1".to_owned(), Kind::Int(10))
        }
        1 => {
            let side = builder.choose(|shape| {
                shape.exact && shape.width() == 1 && matches!(shape.columns[0], Kind::Int(_)) && shape.rows <= 5000
            })?;
            (side.name, "list", "#lookup".to_owned(), Kind::Int(MOST_ROWS))
        }
        _ => {
            let keyed = |shape: &Shape| {
                shape.exact && shape.unique && shape.width() == 2 && shape.columns.iter().all(|kind| kind.plain())
            };
            let side = builder.choose(keyed)?;
            let kind = side.shape.columns[1].or_nil();
            let key = if width > 0 && made.shape.columns[0].plain() { "a1" } else { "1" };
            (side.name, "map", format!("lookup[{key}]"), kind)
        }
    };
    builder.mark_read(&side);
    let (text, mut kinds) = values(builder, &made.shape, 1);
    kinds.push(kind);
    let extras = vec![format!("sideInputs: [{{name: lookup, from: {side}, as: {shape_of_side}}}]")];
    let shape = made.shape.mapped(kinds);
    builder.add(&[&made.name], &operator("map", &params(&made.shape), &format!("return {text}, {found}")), &extras, shape);
    Some(())
}

fn operate(builder: &mut Builder) -> Option<()> {
    let side = builder
        .choose(|shape| shape.exact && shape.width() == 1 && matches!(shape.columns[0], Kind::Int(_)) && shape.rows <= 2000)?;
    builder.mark_read(&side.name);
    let body = "local sum = 0 for _, x in ipairs(all) do sum = (sum + x) % 1000 end emit(sum, #all) emit(#all, 1)";
    let extras = vec![format!("sideInputs: [{{name: all, from: {}, as: list}}]", side.name)];
    let shape = Shape::of(vec![Kind::Int(MOST_ROWS), Kind::Int(1000)], 2);
    builder.add(&[], &operator("operate", "", body), &extras, shape);
    Some(())
}

/// A function that refuses some rows, which are skipped or go elsewhere.
fn set_aside(builder: &mut Builder) -> Option<()> {
    let made = builder.choose(|_| true)?;
    let (text, kinds) = values(builder, &made.shape, 2);
    let test = condition(&mut builder.random, &made.shape);
    let body = format!("if {test} then return {text} end error(\"unwanted\")");
    let text = operator("map", &params(&made.shape), &body);
    let mut shape = made.shape.mapped(kinds);
    shape.ordered = false;
    if builder.random.chance(50) {
        builder.add(&[&made.name], &text, &vec!["onError: {policy: Skip}".to_owned()], shape);
        return Some(());
    }
    let name = builder.fresh();
    let letters = format!("{name}x");
    builder.add_named(&name, &[&made.name], &text, &vec![format!("onError: {{policy: DeadLetter, to: {letters}}}")]);
    builder.add_dead_letters(&letters);
    builder.register(&name, shape);
    Some(())
}
