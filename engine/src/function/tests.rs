//! The contract of functions, in every tier.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use plan::{Do, Function, Node, NodeId, OnError, Op};

use super::*;
use crate::{RowBuf, RunContext, Value, codec};

pub(super) fn context(prelude: &str) -> Rc<TaskContext> {
    let run = RunContext {
        seed: 7,
        prelude: prelude.to_owned(),
        set_aside: [("f".to_owned(), AtomicU64::new(0))].into(),
        ..RunContext::new(".", ".", 1 << 30)
    };
    Rc::new(TaskContext::new(Arc::new(run), 0))
}

pub(super) fn node(op: Op, on_error: OnError) -> Node {
    Node {
        id: NodeId(0),
        step: "f".to_owned(),
        op,
        inputs: Vec::new(),
        side_inputs: Vec::new(),
        outputs: Vec::new(),
        deterministic: true,
        partitions: None,
        size_ratio: None,
        memory: None,
        broadcast: None,
        on_error,
    }
}

pub(super) fn function(source: &str) -> Function {
    Function { source: source.to_owned(), place: "flow.yaml:3:5".to_owned() }
}

/// The one tier that a test runs a function in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    Native,
    Batched,
    PerRow,
}

impl Force {
    fn tiers(self) -> Tiers {
        match self {
            Force::Native => ALL_TIERS,
            Force::Batched => Tiers { native: false, ..ALL_TIERS },
            Force::PerRow => Tiers { native: false, rows: 1 },
        }
    }
}

/// Collects rows.
#[derive(Clone, Default)]
pub(super) struct Rows(pub(super) Rc<RefCell<Vec<Vec<Value>>>>);

impl RowSink for Rows {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        let row = row.iter().map(|value| codec::to_value(*value)).collect::<Result<_>>()?;
        self.0.borrow_mut().push(row);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Runs a step over rows.
pub(super) fn run(op: Do, prelude: &str, force: Force, rows: &[Vec<Value>]) -> Result<Vec<Vec<Value>>, String> {
    run_with(OnError::Fail, op, prelude, force, rows)
}

fn run_with(policy: OnError, op: Do, prelude: &str, force: Force, rows: &[Vec<Value>]) -> Result<Vec<Vec<Value>>, String> {
    let ctx = context(prelude);
    let out = Rows::default();
    let work = || {
        let mut sink = stage_as(&node(Op::ParallelDo(op), policy), &ctx, &[], vec![Box::new(out.clone())], force.tiers())?;
        for row in rows {
            let mut bytes = Vec::new();
            let values: Vec<(usize, usize)> = row
                .iter()
                .map(|value| {
                    let start = bytes.len();
                    codec::write_value(&mut bytes, value);
                    (start, bytes.len())
                })
                .collect();
            let row: Vec<Val<'_>> =
                values.iter().map(|(start, end)| codec::read_val(&mut &bytes[*start..*end])).collect::<Result<_>>()?;
            sink.push(&row)?;
        }
        sink.finish()
    };
    work().map_err(|error| plan::in_full(&error))?;
    Ok(out.0.take())
}

#[test]
fn word_count_pieces_run() {
    let lines = [vec![Value::Str(b"a b  c".to_vec())], vec![Value::Str(b"".to_vec())]];
    let words = run(Do::FlatMap(function("function(line) return line:gmatch('%w+') end")), "", Force::Batched, &lines).unwrap();
    assert_eq!(words.len(), 3);
    let pairs = run(Do::Map(function("function(w) return w, 1 end")), "", Force::Batched, &words).unwrap();
    assert_eq!(pairs[2], [Value::Str(b"c".to_vec()), Value::Int(1)]);
}

fn text(rows: Result<Vec<Vec<Value>>, String>) -> String {
    match rows {
        Ok(rows) => rows.iter().map(|row| shown(row)).collect::<Vec<_>>().join(" "),
        Err(error) => error,
    }
}

fn shown(row: &[Value]) -> String {
    format!("({})", row.iter().map(show).collect::<Vec<_>>().join(","))
}

fn show(value: &Value) -> String {
    match value {
        Value::Nil => "nil".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => format!("{f:?}"),
        Value::Str(s) => format!("{:?}", String::from_utf8_lossy(s)),
        Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(",")),
        Value::Map(pairs) => {
            format!("{{{}}}", pairs.iter().map(|(k, v)| format!("{}:{}", show(k), show(v))).collect::<Vec<_>>().join(","))
        }
    }
}

fn s(text: &str) -> Value {
    Value::Str(text.as_bytes().to_vec())
}

/// Runs a step over rows in every tier, which must agree.
fn check_with(prelude: &str, op: impl Fn(Function) -> Do, source: &str, rows: &[Vec<Value>], expected: &str) {
    for force in [Force::Native, Force::Batched, Force::PerRow] {
        let found = text(run(op(function(source)), prelude, force, rows));
        assert_eq!(found, expected, "{source} ({force:?})");
    }
}

fn map(source: &str, row: &[Value], expected: &str) {
    check_with("", Do::Map, source, &[row.to_vec()], expected);
}

fn flat_map(source: &str, expected: &str) {
    check_with("", Do::FlatMap, source, &[vec![s("a b")]], expected);
}

mod agreement;
mod crossing;
mod difference;
mod made;
mod passed;
mod speed;

const BIG: i64 = (1 << 53) + 1;

#[test]
fn numbers_come_back_normalised() {
    map("function(x) return x end", &[Value::Float(4.0)], "(4)");
    map("function(x) return x end", &[Value::Float(-0.0)], "(0)");
    map("function(x) return x, -x end", &[Value::Int(1 << 53)], "(9007199254740992,-9007199254740992)");
    map("function(x) return x end", &[Value::Int(BIG)], "(9007199254740993)");
    map("function(x) return x end", &[Value::Int(i64::MIN)], "(-9223372036854775808)");
    map("function(x) return x + 1 end", &[Value::Int(BIG)], "(9007199254740994)");
    map("function(x) return x * 2 end", &[Value::Int(1 << 53)], "(1.8014398509481984e16)");
    map("function(x) return x / 2, 1 / 0, -1 / 0, 0 / 0 end", &[Value::Int(3)], "(1.5,inf,-inf,NaN)");
    map("function(x) return 18446744073709551615ULL / 2 end", &[Value::Nil], "(9223372036854775807)");
    map("function(x) return x + 0.5 end", &[Value::Int(3)], "(3.5)");
}

#[test]
fn integers_beyond_exact_numbers_raise_rather_than_lose_digits() {
    for (body, why) in [
        ("return x + 0.5", "attempt to mix an integer beyond 2^53 with a fraction"),
        ("return 0.5 * x", "attempt to mix an integer beyond 2^53 with a fraction"),
        ("return x < 0.5", "attempt to mix an integer beyond 2^53 with a fraction"),
        ("local t = {} t[x] = 1", "attempt to use an integer beyond 2^53 as the key of a table"),
        ("return ({})[x]", "attempt to use an integer beyond 2^53 as the key of a table"),
        ("return {[x] = 1}", "attempt to use an integer beyond 2^53 as the key of a table"),
    ] {
        let error = text(run(Do::Map(function(&format!("function(x) {body} end"))), "", Force::PerRow, &[vec![Value::Int(BIG)]]));
        assert!(error.ends_with(&format!("the function at flow.yaml:3:5, line 1, failed: {why}")), "{error}");
    }
    let error = text(run(Do::Map(function("function(x) return 'a' .. x end")), "", Force::Batched, &[vec![Value::Int(BIG)]]));
    assert!(error.contains("attempt to concatenate"), "{error}");
}

#[test]
fn rows_are_what_is_returned() {
    map("function(x) return end", &[s("a")], "");
    map("function(x) end", &[s("a")], "");
    map("function(x) return nil end", &[s("a")], "(nil)");
    map("function(x, y) return y, x end", &[s("a")], "(nil,\"a\")");
    map("function(x) return x, true, false end", &[s("a\0b"), s("not asked for")], "(\"a\\0b\",true,false)");
    map("function(...) return select('#', ...), ... end", &[Value::Nil, s("b"), Value::Nil], "(3,nil,\"b\",nil)");
    map(
        "function(x) return {}, {1, 2}, {a = 1}, {1, nil, 3}, {[2] = 1} end",
        &[Value::Nil],
        "([],[1,2],{\"a\":1},{1:1,3:3},{2:1})",
    );
    map(
        "function(x) return x, #x, x[2] end",
        &[Value::List(vec![Value::Int(1), Value::List(vec![s("x")])])],
        "([1,[\"x\"]],2,[\"x\"])",
    );
    map(
        "function(x) return x.a, x[true] end",
        &[Value::Map(vec![(Value::Bool(true), Value::Int(2)), (s("a"), Value::Int(1))])],
        "(1,2)",
    );
    map("function(x) return {b = {c = {}}, a = 1} end", &[Value::Nil], "({\"a\":1,\"b\":{\"c\":[]}})");
    map("function() return unpack({}, 1, 300) end", &[], &format!("({})", ["nil"; 300].join(",")));
}

#[test]
fn what_cannot_be_a_field_fails_by_its_kind() {
    for (value, why) in [
        ("print", "a function cannot be a field"),
        ("coroutine.create(print)", "a thread cannot be a field"),
        ("io.stderr", "a userdata cannot be a field"),
        ("ffi.new('int[3]')", "a C value (ctype<int [3]>) cannot be a field"),
        ("18446744073709551615ULL", "an unsigned integer above 2^63-1 cannot be a field"),
        (
            "(function() local t = {} t[1] = t return t end)()",
            "a table that contains itself, or nests more than 128 deep, cannot be a field",
        ),
        ("{[1LL] = 2}", "attempt to use an integer beyond 2^53 as the key of a table"),
    ] {
        let error = text(run(Do::Map(function(&format!("function(x) return {value} end"))), "", Force::Batched, &[vec![s("r")]]));
        assert!(error.starts_with("step \"f\" failed on row (\"r\"): the function at flow.yaml:3:5"), "{error}");
        assert!(error.ends_with(&format!("failed: {why}")), "{error}");
    }
}

#[test]
fn flat_map_takes_iterators_and_lists() {
    flat_map("function(x) return x:gmatch('%w+') end", "(\"a\") (\"b\")");
    flat_map("function(x) return ipairs({7, 8}) end", "(1,7) (2,8)");
    flat_map("function(x) return pairs({7}) end", "(1,7)");
    flat_map(
        "function(x) local i = 0 return function() i = i + 1 if i < 3 then return i, x end end end",
        "(1,\"a b\") (2,\"a b\")",
    );
    flat_map(
        "function(x) return coroutine.wrap(function() coroutine.yield(1) coroutine.yield(nil) coroutine.yield(2) end) end",
        "(1)",
    );
    flat_map("function(x) return coroutine.wrap(function() coroutine.yield(false) end) end", "(false)");
    flat_map("function(x) return setmetatable({}, {__call = function(self, s, c) if not c then return 5 end end}) end", "(5)");
    flat_map("function(x) return {1, x, {2, 3}, {}, {a = 1}, {{4}}} end", "(1) (\"a b\") (2,3) ({\"a\":1}) ([4])");
    flat_map("function(x) return function(s, c) if not c then return {1, 2} end end end", "(1,2)");
    flat_map("function(x) end", "");
    flat_map("function(x) return nil end", "");
    flat_map("function(x) return {} end", "");
    for (value, why) in [
        ("1", "a flatMap must return an iterator or a list, not a number"),
        ("'a'", "a flatMap must return an iterator or a list, not a string"),
        ("{a = 1}", "a flatMap must return an iterator or a list, not a map"),
        ("{1}, 2", "a flatMap must return an iterator or one list, not a list and a number"),
        (
            "coroutine.create(print)",
            "a flatMap must return an iterator or a list, not a thread (coroutine.wrap makes an iterator of a coroutine)",
        ),
    ] {
        let source = format!("function(x) return {value} end");
        flat_map(&source, &format!("step \"f\" failed on row (\"a b\"): the function at flow.yaml:3:5 failed: {why}"));
    }
}

#[test]
fn long_results_and_many_rows_are_passed_on_in_order() {
    let rows: Vec<Vec<Value>> = (0..3000).map(|i| vec![Value::Int(i)]).collect();
    let source = "function(x) local i = 0 return function() i = i + 1 if i <= 20 then return x, i, 'text ' .. i end end end";
    let found = run(Do::FlatMap(function(source)), "", Force::Batched, &rows).unwrap();
    assert_eq!(found.len(), 60_000);
    for (at, row) in found.iter().enumerate() {
        let (x, i) = (at as i64 / 20, at as i64 % 20 + 1);
        assert_eq!(*row, [Value::Int(x), Value::Int(i), s(&format!("text {i}"))]);
    }
    let wide = "function(x) local t = {} for i = 1, 100000 do t[i] = i end return t end";
    assert_eq!(run(Do::Map(function(wide)), "", Force::Batched, &rows[..1]).unwrap()[0].len(), 1);
    let wide = "function(x) local t = {} for i = 1, 100000 do t[i] = i .. '' end return {t} end";
    let found = run(Do::FlatMap(function(wide)), "", Force::Batched, &rows[..1]).unwrap();
    assert_eq!((found[0].len(), &found[0][99_999]), (100_000, &s("100000")));
}

#[test]
fn filter_keeps_rows_as_they_are() {
    let rows = [
        vec![Value::Float(4.0), Value::List(vec![Value::Float(1.0)]), Value::Int(BIG)],
        vec![Value::Float(-0.0), s("b")],
        vec![Value::Nil],
        vec![Value::Bool(false), s("c")],
        vec![],
    ];
    check_with("", Do::Filter, "function(x) return x end", &rows, "(4.0,[1.0],9007199254740993) (-0.0,\"b\")");
    check_with("", Do::Filter, "function(x) return x == nil end", &rows, "(nil) ()");
    check_with("", Do::Filter, "function(x) end", &rows, "");
}

#[test]
fn for_each_and_split_emit() {
    let rows = [vec![Value::Int(1)], vec![Value::Int(2)]];
    check_with(
        "",
        Do::ForEach,
        "function(x) emit(x, 'a') if x == 2 then emit(nil) emit() end return 5 end",
        &rows,
        "(1,\"a\") (2,\"a\") (nil)",
    );
    let split = |source: &str| {
        let (ctx, a, b) = (context(""), Rows::default(), Rows::default());
        let op = Do::Split { function: function(source), outputs: vec!["a".to_owned(), "b".to_owned()] };
        let outs: Vec<Box<dyn RowSink>> = vec![Box::new(a.clone()), Box::new(b.clone())];
        let work = || {
            let mut sink = stage(&node(Op::ParallelDo(op), OnError::Fail), &ctx, &[], outs)?;
            sink.push(&[Val::Int(1)])?;
            sink.push(&[Val::Int(2)])?;
            sink.finish()
        };
        match work() {
            Ok(()) => format!("a: {} b: {}", text(Ok(a.0.take())), text(Ok(b.0.take()))),
            Err(error) => plan::in_full(&error),
        }
    };
    assert_eq!(split("function(x) if x == 1 then emit.a(x) end emit.b(x, x) end"), "a: (1) b: (1,1) (2,2)");
    assert!(split("function(x) emit.c(x) end").ends_with("line 1, failed: no output is called c (outputs: a, b)"));
}

#[test]
fn errors_say_where_in_which_text() {
    let row = [vec![s("r")]];
    let fails = |prelude: &str, source: &str| text(run(Do::Map(function(source)), prelude, Force::Batched, &row));
    let at = "step \"f\" failed on row (\"r\"): ";
    assert_eq!(
        fails("", "function(x)\n  error('bad ' .. x)\nend"),
        format!("{at}the function at flow.yaml:3:5, line 2, failed: bad r")
    );
    assert_eq!(
        fails("-- one\n-- two", "function(x)\n  error('bad', 0)\nend"),
        format!("{at}the function at flow.yaml:3:5, line 2, failed: bad")
    );
    assert_eq!(
        fails("\nfunction help(x) error('no') end", "function(x)\n  help(x)\nend"),
        format!("{at}spec.lua, line 2, failed: no")
    );
    assert_eq!(
        fails("", "function(x) error({why = {1}, code = 3}) end"),
        format!("{at}the function at flow.yaml:3:5, line 1, failed: {{code = 3, why = {{[1] = 1}}}}")
    );
    assert_eq!(
        fails("", "function(x) error(setmetatable({}, {__tostring = function() return 'mine' end})) end"),
        format!("{at}the function at flow.yaml:3:5, line 1, failed: mine")
    );
    assert!(
        fails("", "function(x) local t = {} t[9000] = 1 local n = select('#', unpack(t, 1, 9000)) end")
            .contains("`select` the fields")
    );
    // What is called last leaves no trace of its caller.
    assert_eq!(
        fails("", "function(x) return math.floor(x) end"),
        format!(
            "{at}the function at flow.yaml:3:5, line 1, failed: \
             bad argument #1 to the function whose result it returns (number expected, got string)"
        )
    );
    assert_eq!(fails("", "function(x)\n return error('boom') end"), format!("{at}the function at flow.yaml:3:5 failed: boom"));
    assert!(fails("", "function(x) error() end").ends_with("line 1, failed: nil"));
    assert!(fails("", "function(x) return x.y.z end").contains("line 1, failed: attempt to index field 'y' (a nil value)"));
    assert!(fails("x = 1\nerror('early')", "function(x) end").ends_with("spec.lua, line 2, failed: early"));
    assert!(fails("x = = 1", "function(x) end").contains("spec.lua, line 1, does not compile: unexpected symbol near '='"));
    assert_eq!(
        fails("", "function(x)\n x = = 1 end"),
        "step \"f\" failed: the function at flow.yaml:3:5, line 2, does not compile: unexpected symbol near '='"
    );
    assert!(
        fails("", "function(x)\n os.exit(0) end")
            .ends_with("line 2, failed: os.exit is not for functions: raise an error instead")
    );
    assert!(fails("", "function(x) local function f() return f() + 1 end return f() end").contains("stack overflow"));
    assert!(
        fails("", "function(x) local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000000) .. i end end")
            .contains("not enough memory")
    );
    assert!(fails("", "function(x) return pcall(error, 'caught') end").contains("(false,\"caught\")"));
    assert!(fails("emit_early = 1 emit(1)", "function(x) end").contains("attempt to call global 'emit' (a nil value)"));
}

#[test]
fn what_is_loaded_is_whole_and_apart() {
    let row = [vec![s("r")], vec![s("q")]];
    check_with("", Do::Map, "function(x) n = (n or 0) + 1 return x, n end", &row, "(\"r\",1) (\"q\",2)");
    check_with(
        "local up = string.upper\nfunction twice(x) return x .. x end",
        Do::Map,
        "function(x) return up(twice(x)) end",
        &row,
        "(\"RR\") (\"QQ\")",
    );
    check_with(
        "function string.lower() return 'mine' end",
        Do::Map,
        "function(x) return x:lower() end",
        &row,
        "(\"mine\") (\"mine\")",
    );
    check_with("", Do::Map, "function(x) return x:lower() end", &row, "(\"r\") (\"q\")");
    check_with(
        "",
        Do::Map,
        "function(x) return bit.band(7, 2), ffi.sizeof('int'), require('ffi') == ffi, type(jit.version) end",
        &row[..1],
        "(2,4,true,\"string\")",
    );
    check_with(
        "",
        Do::Map,
        "function(x) print('to the log') io.write('too\\n') io.stdout:write('and this\\n') return x end",
        &row[..1],
        "(\"r\")",
    );
    check_with("#!/usr/bin/luajit\nk = 3 --", Do::Map, "function(x) return k end --", &row[..1], "(3)");
    check_with("", Do::Map, "|x| -> x .. '!'", &row[..1], "(\"r!\")");
    let random = |partition: usize| {
        let mut ctx = context("");
        Rc::get_mut(&mut ctx).unwrap().partition = partition;
        let out = Rows::default();
        let step =
            node(Op::ParallelDo(Do::Map(function("function() return math.random(), math.random(1000) end"))), OnError::Fail);
        let mut sink = stage(&step, &ctx, &[], vec![Box::new(out.clone())]).unwrap();
        sink.push(&[]).unwrap();
        sink.finish().unwrap();
        out.0.take()
    };
    assert_eq!(random(1), random(1));
    assert_ne!(random(1), random(2));
}

#[test]
fn bad_rows_are_set_aside_whole_and_counted() {
    for force in [Force::Native, Force::Batched, Force::PerRow] {
        for policy in [OnError::Skip, OnError::DeadLetter] {
            let (ctx, out, letters) = (context(""), Rows::default(), Rows::default());
            let source = "function(x) local i = 0 return function() i = i + 1 if x == 2 and i == 2 then error('bad') end if i < 3 then return x, i end end end";
            let step = node(Op::ParallelDo(Do::FlatMap(function(source))), policy.clone());
            let mut outs: Vec<Box<dyn RowSink>> = vec![Box::new(out.clone())];
            if policy == OnError::DeadLetter {
                outs.push(Box::new(letters.clone()));
            }
            let mut sink = stage_as(&step, &ctx, &[], outs, force.tiers()).unwrap();
            for i in 1..=3 {
                sink.push(&[Val::Int(i), Val::Float(i as f64)]).unwrap();
            }
            sink.finish().unwrap();
            assert_eq!(text(Ok(out.0.take())), "(1,1) (1,2) (3,1) (3,2)");
            assert_eq!(text(Ok(letters.0.take())), if policy == OnError::DeadLetter { "(2,2.0)" } else { "" });
            assert_eq!(ctx.run.set_aside["f"].load(Ordering::Relaxed), 1);
        }
    }
}

/// A side input of rows.
fn side(name: &str, shape: SideShape, rows: &[&[Val<'_>]]) -> Side {
    let mut log = BatchLog::new(&crate::MemoryPool::new(1 << 20), std::path::Path::new("."));
    rows.iter().for_each(|row| log.push(row).unwrap());
    log.seal().unwrap();
    Side { name: name.to_owned(), shape, rows: Arc::new(log) }
}

#[test]
fn side_inputs_are_plain_tables() {
    let check = |shape: SideShape, rows: &[&[Val<'_>]], source: &str| {
        let (ctx, out) = (context("seen = side"), Rows::default());
        let step = node(Op::ParallelDo(Do::Map(function(source))), OnError::Fail);
        let work = || {
            let mut sink = stage(&step, &ctx, &[side("side", shape, rows)], vec![Box::new(out.clone())])?;
            sink.push(&[Val::Int(1)])?;
            sink.finish()
        };
        work().map_err(|error| plan::in_full(&error)).map_or_else(|error| error, |()| text(Ok(out.0.take())))
    };
    use SideShape::{List, Map, Value};
    let (one, two) = (Val::Int(1), Val::Str(b"two"));
    assert_eq!(check(List, &[&[one], &[one, two], &[]], "function() return side, seen == side end"), "([1,[1,\"two\"],[]],true)");
    assert_eq!(check(List, &[], "function() return side end"), "([])");
    assert_eq!(
        check(Map, &[&[two, one], &[one, one, two], &[Val::Bool(true)]], "function(x) return side.two, side[x], side[true] end"),
        "(1,[1,\"two\"],[])"
    );
    assert_eq!(check(Value, &[&[one, two]], "function() return side end"), "([1,\"two\"])");
    assert_eq!(check(Value, &[&[two]], "function() return side end"), "(\"two\")");
    let wrong = |shape, rows: &[&[Val<'_>]]| check(shape, rows, "function() return 1 end");
    assert_eq!(wrong(Value, &[]), "step \"f\" failed: the side input \"side\" must have one row, but has none");
    assert_eq!(wrong(Value, &[&[one], &[one]]), "step \"f\" failed: the side input \"side\" must have one row, but has more");
    assert_eq!(wrong(Map, &[&[one, one], &[Val::Float(1.0)]]), "step \"f\" failed: the side input \"side\" has the key 1 twice");
    assert_eq!(
        wrong(Map, &[&[Val::Nil]]),
        "step \"f\" failed: the side input \"side\" has a key that a table cannot be searched for: nil"
    );
    assert_eq!(wrong(Map, &[&[Val::Int(BIG)]]), "step \"f\" failed: the side input \"side\" has an integer beyond 2^53 as a key");
}

#[test]
fn every_global_of_a_fresh_vm_is_known_as_one() {
    let names = run(Do::FlatMap(function("function() return pairs(_G) end")), "", Force::Batched, &[vec![]]).unwrap_err();
    assert!(names.contains("cannot be a field") || names.contains("contains itself"), "{names}");
    let source = "function() local names = {} for name in pairs(_G) do names[#names + 1] = name end return names end";
    for name in run(Do::FlatMap(function(source)), "", Force::Batched, &[vec![]]).unwrap() {
        let [Value::Str(name)] = name.as_slice() else { panic!("{name:?}") };
        let name = String::from_utf8(name.clone()).unwrap();
        assert!(lua::is_global(&name) && lua::is_name(&name), "{name}");
    }
    assert!(!lua::is_name("end") && !lua::is_name("a b") && !lua::is_name("") && lua::is_name("größe"));
}

#[test]
fn operate_runs_once() {
    let (ctx, out) = (context(""), Rows::default());
    let step = node(Op::Operate(function("function() for i = 1, #words do emit(i, words[i]) end end")), OnError::Fail);
    let words = side("words", SideShape::List, &[&[Val::Str(b"a")], &[Val::Str(b"b")]]);
    operate(&step, &ctx, &[words], Box::new(out.clone())).unwrap();
    assert_eq!(text(Ok(out.0.take())), "(1,\"a\") (2,\"b\")");
}

#[test]
fn folds_give_as_many_values_as_they_take() {
    let fold = |source: &str, acc: &[Val<'_>], row: &[Val<'_>]| {
        let step = node(Op::Combine(plan::Fold::Lua(function(source))), OnError::Fail);
        let mut out = RowBuf::default();
        let mut folder = folder(&step, &context(""), &[]).unwrap();
        match folder.fold(acc, row, &mut out) {
            Ok(()) => shown(&out.iter().map(|value| codec::to_value(value).unwrap()).collect::<Vec<_>>()),
            Err(error) => plan::in_full(&error),
        }
    };
    let (one, half, text) = (Val::Int(1), Val::Float(0.5), Val::Str(b"t"));
    assert_eq!(fold("function(x, y) return x + y end", &[one], &[half]), "(1.5)");
    assert_eq!(fold("function(x1, x2, y1, y2) return x1 + y1, x2 .. y2 end", &[one, text], &[half, text]), "(1.5,\"tt\")");
    assert_eq!(fold("function(x, y) return {x, y} end", &[one], &[text]), "([1,\"t\"])");
    assert!(
        fold("function(x, y) end", &[one], &[half]).ends_with("must return 1 values, as many as each side has, but returned 0")
    );
    assert!(fold("function(x, y) return x + y end", &[one], &[text]).contains("attempt to perform arithmetic"));
}

#[test]
fn an_error_behind_the_function_stops_it() {
    struct Full;
    impl RowSink for Full {
        fn push(&mut self, _: &[Val<'_>]) -> Result<()> {
            Err(Error::Interrupted)
        }
        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
    }
    for source in ["function(x) for i = 1, 1e5 do pcall(emit, x) end end", "function(x) while true do emit(x) end end"] {
        let step = node(Op::ParallelDo(Do::ForEach(function(source))), OnError::Fail);
        let mut sink = stage(&step, &context(""), &[], vec![Box::new(Full)]).unwrap();
        let result = sink.push(&[Val::Int(1)]).and_then(|()| sink.finish());
        assert!(matches!(result, Err(Error::Interrupted)));
    }
}
