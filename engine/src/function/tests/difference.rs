//! The tiers against each other: random functions of the language that is lifted, over rows of everything.

use proptest::prelude::*;

use super::*;

const EXACT: i64 = 1 << 53;
#[rustfmt::skip]
const INTS: [i64; 21] = [
    0, 1, -1, 2, 3, 7, -8, 10, 255, 4096, 99_999_999_999_999, 100_000_000_000_000, EXACT - 1, EXACT, EXACT + 1, -EXACT, -EXACT - 1, i64::MAX, i64::MIN, i32::MAX as i64, i32::MIN as i64,
];

#[rustfmt::skip]
const FLOATS: [f64; 19] = [
    0.5, -0.5, 4.0, -0.0, 0.1, 1e15, 1e300, -1e300, 9007199254740992.0, 9007199254740994.0, 9223372036854775808.0, 5e-324, 123456.789, 1e-5, 0.0001, 2.5e14, f64::NAN, f64::INFINITY, f64::NEG_INFINITY,
];

#[rustfmt::skip]
const TEXTS: [&str; 21] = [
    "", "a", "abc def", "x=1, y = 22", "10", " 10 ", "0x10", "-3.5", "1e3", "nan", "12abc", "a\0b", "\u{fc}\u{df} MiXed", "  pad  ", "...", "key=value=more", "007", "-0", ".5", "5.", "aaaaaaaaab",
];

/// Values at the edges of what Lua does with them.
pub(super) fn value() -> impl Strategy<Value = Value> {
    let ints = prop::sample::select(INTS.to_vec());
    let floats = prop::sample::select(FLOATS.to_vec());
    let texts = prop::sample::select(TEXTS.to_vec());
    prop_oneof![
        1 => Just(Value::Nil),
        1 => any::<bool>().prop_map(Value::Bool),
        4 => ints.prop_map(Value::Int),
        2 => any::<i32>().prop_map(|i| Value::Int(i64::from(i))),
        3 => floats.prop_map(Value::Float),
        2 => any::<f64>().prop_map(Value::Float),
        5 => texts.prop_map(s),
        3 => nested(),
    ]
}

/// Lists and maps of what tables hold and of what they do not.
fn nested() -> impl Strategy<Value = Value> {
    let floats = prop::sample::select(vec![4.0, -0.0, 0.5, f64::NAN, 9007199254740994.0]);
    let leaf = prop_oneof![
        2 => Just(Value::Nil),
        2 => floats.prop_map(Value::Float),
        2 => prop::sample::select(INTS.to_vec()).prop_map(Value::Int),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => prop::sample::select(TEXTS.to_vec()).prop_map(s),
        1 => prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::Str),
        1 => Just(Value::List(vec![])),
        1 => Just(Value::Map(vec![])),
    ];
    let deep = leaf.prop_recursive(3, 12, 4, |inner| {
        let named = prop::collection::btree_map(prop::sample::select(TEXTS.to_vec()), inner.clone(), 0..4);
        let numbered = prop::collection::btree_map(0..5_i64, inner.clone(), 0..4);
        prop_oneof![
            2 => prop::collection::vec(inner, 0..4).prop_map(Value::List),
            1 => named.prop_map(|pairs| Value::Map(pairs.into_iter().map(|(key, value)| (s(key), value)).collect())),
            1 => numbered.prop_map(|pairs| Value::Map(pairs.into_iter().map(|(key, value)| (Value::Int(key), value)).collect())),
        ]
    });
    deep.prop_filter("lists and maps", |value| matches!(value, Value::List(_) | Value::Map(_)))
}

/// Functions that pass parameters on, in the ways in which one can.
fn passing() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "return a, b, c",
        "return c, (a)",
        "if a then return a, b end return b, c",
        "return a and b, a or c",
        "local x = a return x, type(b), b == nil, b",
        "local n = type(a) == 'table' and #a or 0 return a, n ~= n, b",
        "for _ in pairs(type(b) == 'table' and b or {}) do end return b, c",
        "return {a, b}, {x = {c}}",
        "local x = type(a) == 'table' and a[1] return x, b",
        "last = last or a return last, a",
    ])
}

/// Patterns, plain and odd.
pub(super) fn pattern() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "%w+",
        "%a+",
        "%S+",
        "[^,]+",
        "[%w_]+",
        "%d+",
        "a",
        "=",
        "abc",
        "^%s*",
        "%s+$",
        "^a.-b$",
        "(%w+)=(%w+)",
        "()a()",
        "[a-c]",
        "[]x]",
        "[^%s=]*",
        "%D",
        ".",
        "a-",
        "x?=?",
        "(a)(b)?",
        "^",
        "$",
        "%.",
        "[%a-z]",
        "((a)b)",
        "[a-]",
        "a*",
        "%w*$",
        "b%",
        "[",
        "(",
        "%1",
        "%f[%w]%w+",
        "%bab",
    ])
}

/// An expression over the parameters a, b, c and, from `locals` on, the local x.
pub(super) fn expression(locals: bool) -> impl Strategy<Value = String> {
    let mut names = vec!["a", "b", "c", "d"];
    if locals {
        names.push("x");
    }
    let leaf = prop_oneof![
        6 => prop::sample::select(names).prop_map(str::to_owned),
        3 => prop::sample::select(vec!["0", "1", "2", "-1", "0.5", "1e15", "0x10", "3.25", "9007199254740992", "1e308", "7"]).prop_map(str::to_owned),
        2 => prop::sample::select(vec!["''", "'a'", "\"10\"", "' '", "[[x=1]]"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["nil", "true", "false"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let binary = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "^", "..", "==", "~=", "<", "<=", ">", ">=", "and", "or", "and", "or", "..", "+",
        ]);
        let unary = prop::sample::select(vec!["not ", "- ", "#"]);
        let method = prop::sample::select(vec!["lower", "upper", "reverse", "len", "byte"]);
        let plain = prop::sample::select(vec![
            "tostring",
            "tonumber",
            "type",
            "math.floor",
            "math.ceil",
            "math.abs",
            "math.sqrt",
            "string.lower",
        ]);
        prop_oneof![
            6 => (inner.clone(), binary, inner.clone()).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            2 => (unary, inner.clone()).prop_map(|(operator, a)| format!("({operator}{a})")),
            2 => (inner.clone(), method).prop_map(|(a, method)| format!("({a}):{method}()")),
            2 => (plain, inner.clone()).prop_map(|(name, a)| format!("{name}({a})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, i, j)| format!("({a}):sub({i}, {j})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, i)| format!("({a}):sub({i})")),
            1 => (inner.clone(), -3..6_i32).prop_map(|(a, i)| format!("({a}):sub({i})")),
            1 => (inner.clone(), -3..6_i32).prop_map(|(a, i)| format!("({a}):rep({i})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("math.max({a}, {b}, 1)")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("math.min({a}, {b})")),
            1 => (inner.clone(), pattern()).prop_map(|(a, pattern)| format!("({a}):match('{pattern}')")),
            1 => (inner.clone(), pattern()).prop_map(|(a, pattern)| format!("({a}):find('{pattern}')")),
            1 => (inner.clone(), pattern()).prop_map(|(a, pattern)| format!("({a}):find('{pattern}', 1, true)")),
            1 => (inner.clone(), pattern()).prop_map(|(a, pattern)| format!("({a}):gsub('{pattern}', '<>')")),
            1 => (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? ({b}) : ({c}))")),
        ]
    })
}

/// A body that returns what `result` makes of expressions.
fn body(result: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let shape = 0..6_u32;
    (shape, expression(false), expression(true), expression(true), result).prop_map(|(shape, e, f, g, result)| match shape {
        0 => format!("local x = {e} {result}"),
        1 => format!("local x, y = {e}, {f} if {g} then return end {result}"),
        2 => format!("local x = {e} if {f} then x = {g} elseif {g} then {result} else x = nil end {result}"),
        3 => format!("local x, y = ({e}):match('(%w+)=(%w+)') {result}"),
        4 => format!("local x local lower = string.lower do x = {e} x ..= 'z' end {result}"),
        _ => format!("a, b = b, a local x = {f} {result}").replace('x', "c"),
    })
}

fn row_result() -> impl Strategy<Value = String> {
    prop::collection::vec(expression(true), 0..3).prop_map(|values| format!("do return {} end", values.join(", ")))
}

fn item_result() -> impl Strategy<Value = String> {
    let items = prop::collection::vec(expression(true), 0..3).prop_map(|items| items.join(", ")).boxed();
    prop_oneof![
        (expression(true), pattern()).prop_map(|(text, pattern)| format!("do return ({text}):gmatch('{pattern}') end")),
        items.clone().prop_map(|items| format!("do return {{{items}}} end")),
        (items.clone(), items).prop_map(|(a, b)| format!("do return {{{{{a}}}, {{{b}}}}} end")),
    ]
}

/// Whether a function could show the address of a table, which is never twice the same.
fn shows_addresses(source: &str, rows: &[&[Value]]) -> bool {
    let tables = rows.iter().copied().flatten().any(|value| matches!(value, Value::List(_) | Value::Map(_)));
    tables && source.contains("tostring")
}

pub(super) fn compare(op: impl Fn(Function) -> Do, source: &str, row: &[Value]) -> Result<(), TestCaseError> {
    if shows_addresses(source, &[row]) {
        return Ok(());
    }
    let expected = text(run(op(function(source)), "", Force::Batched, &[row.to_vec()]));
    for force in [Force::Native, Force::PerRow] {
        let found = text(run(op(function(source)), "", force, &[row.to_vec()]));
        prop_assert_eq!(&found, &expected, "{} {:?} in tier {:?}", source, row, force);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) })]

    #[test]
    fn maps_agree(body in body(row_result()), row in prop::collection::vec(value(), 0..4)) {
        compare(Do::Map, &format!("function(a, b, c, d) {body} end"), &row)?;
    }

    #[test]
    fn what_is_passed_on_agrees(body in passing(), rows in prop::collection::vec(prop::collection::vec(value(), 0..4), 1..3)) {
        let source = format!("function(a, b, c) {body} end");
        let expected = text(run(Do::Map(function(&source)), "", Force::Batched, &rows));
        for force in [Force::Native, Force::PerRow] {
            prop_assert_eq!(&text(run(Do::Map(function(&source)), "", force, &rows)), &expected, "{} in tier {:?}", source, force);
        }
        // A list or a map comes out of a function of one parameter as it went in.
        for row in &rows {
            for value in row.iter().filter(|value| matches!(value, Value::List(_) | Value::Map(_))) {
                for source in ["function(x) return x end", "function(x) local y = x return y end", "function(...) return ... end"] {
                    let found = text(run(Do::Map(function(source)), "", Force::Batched, &[vec![value.clone()]]));
                    prop_assert_eq!(found, shown(std::slice::from_ref(value)), "{}", source);
                }
            }
        }
    }

    #[test]
    fn expressions_agree(expr in expression(false), row in prop::collection::vec(value(), 0..4)) {
        compare(Do::Map, &format!("function(a, b, c, d) return {expr} end"), &row)?;
        compare(Do::Filter, &format!("function(a, b, c, d) return {expr} end"), &row)?;
    }

    #[test]
    fn long_batches_agree(expr in expression(false), rows in prop::collection::vec(prop::collection::vec(value(), 2), 1..20)) {
        prop_assume!(!shows_addresses(&expr, &rows.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        let rows: Vec<Vec<Value>> = (0..100).flat_map(|_| rows.clone()).collect();
        let source = format!("function(a, b, c, d) return {expr}, a end");
        let [native, batched] = [Force::Native, Force::Batched]
            .map(|force| text(run_with(OnError::Skip, Do::Map(function(&source)), "", force, &rows)));
        prop_assert_eq!(native, batched, "{}", source);
    }

    #[test]
    fn flat_maps_agree(body in body(item_result()), row in prop::collection::vec(value(), 0..4)) {
        compare(Do::FlatMap, &format!("function(a, b, c, d) {body} end"), &row)?;
    }

    #[test]
    fn folds_agree(expr in expression(false), acc in prop::collection::vec(value(), 2), row in prop::collection::vec(value(), 2)) {
        folds(&format!("function(a, b, c, d) return {expr}, b end"), &acc, &row)?;
        folds("function(a, b, c, d) return a + c, math.max(b, d) end", &acc, &row)?;
        folds("function(a, b, c, d) return math.min(c, a), d + b end", &acc, &row)?;
    }
}

/// Random cases of each property; more where someone looks for trouble.
const CASES: u32 = 250;

fn encoded(row: &[Value]) -> Vec<Vec<u8>> {
    let encode = |value: &Value| {
        let mut bytes = Vec::new();
        codec::write_value(&mut bytes, value);
        bytes
    };
    row.iter().map(encode).collect()
}

fn folds(source: &str, acc: &[Value], row: &[Value]) -> Result<(), TestCaseError> {
    if shows_addresses(source, &[acc, row]) {
        return Ok(());
    }
    let (acc, row) = (encoded(acc), encoded(row));
    let vals = |row: &'_ [Vec<u8>]| -> Vec<Val<'static>> {
        row.iter().map(|bytes| codec::read_val(&mut &*bytes.clone().leak()).unwrap()).collect()
    };
    let (acc, row) = (vals(&acc), vals(&row));
    let step = node(Op::Combine(plan::Fold::Lua(function(source))), OnError::Fail);
    let fold = |force: Force| {
        use crate::fold::Folder;
        let mut out = RowBuf::default();
        let mut folder = fold::folder_as(&step, &context(""), &[], force.tiers()).unwrap();
        let shortcuts = folder.shortcuts().map(<[_]>::to_vec);
        let short: Option<Vec<Val<'_>>> =
            shortcuts.and_then(|all| all.iter().enumerate().map(|(at, one)| one.apply(acc[at], row[at])).collect());
        if let Some(short) = short {
            out.extend(&short);
        } else if let Err(error) = folder.fold(&acc, &row, &mut out) {
            return plan::in_full(&error);
        }
        shown(&out.iter().map(|value| codec::to_value(value).unwrap()).collect::<Vec<_>>())
    };
    prop_assert_eq!(fold(Force::Native), fold(Force::Batched), "{}", source);
    Ok(())
}

#[test]
fn every_class_accepts_the_bytes_that_lua_accepts() {
    let all: Vec<u8> = (0..=255).collect();
    for class in (b'a'..=b'z').chain(b'A'..=b'Z').filter(|class| !b"bf".contains(class)) {
        let source = format!("function(a) return a:gmatch('%{}') end", class as char);
        assert!(lua::lift(&source, lua::Role::FlatMap, "").is_ok());
        let [native, batched] = [Force::Native, Force::Batched]
            .map(|force| run(Do::FlatMap(function(&source)), "", force, &[vec![Value::Str(all.clone())]]).unwrap());
        assert_eq!(native, batched, "%{}", class as char);
    }
    for call in ["lower", "upper", "reverse"] {
        let source = format!("function(a) return a:{call}() end");
        let [native, batched] = [Force::Native, Force::Batched]
            .map(|force| run(Do::Map(function(&source)), "", force, &[vec![Value::Str(all.clone())]]).unwrap());
        assert_eq!(native, batched, "{call}");
    }
}

#[test]
fn values_that_are_not_covered_do_not_change_what_comes_next() {
    let rows: Vec<Vec<Value>> =
        (0..5000).map(|i| vec![if i % 3 == 0 { s("10") } else { Value::Int(i) }, Value::Int(i)]).collect();
    let source = "function(x, i) return x + 1, i end";
    let [native, batched] =
        [Force::Native, Force::Batched].map(|force| run(Do::Map(function(source)), "", force, &rows).unwrap());
    assert_eq!(native.len(), 5000);
    assert_eq!(native, batched);
}
