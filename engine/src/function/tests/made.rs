//! Functions that make several rows of one: in all tiers they make the same, and nobody is asked for more than is wanted.

use proptest::prelude::*;

use super::difference::{compare, expression, pattern, value};
use super::*;

fn lifted(source: &str, role: lua::Role) -> bool {
    lua::lift(source, role, "").is_ok()
}

fn check(op: impl Fn(Function) -> Do, source: &str, expected: &str) {
    let role = if matches!(op(function(source)), Do::ForEach(_)) { lua::Role::ForEach } else { lua::Role::FlatMap };
    assert!(lifted(source, role), "{source}: {:?}", lua::lift(source, role, ""));
    check_with("", op, source, &[vec![s("a b c")]], expected);
}

#[test]
fn pairs_of_neighbours_are_made_alike_in_all_ways_to_write_them() {
    let pairs = "(\"a b\",1) (\"b c\",1)";
    let looped = "local prev for w in line:gmatch('%w+') do if prev then MAKE end prev = w end";
    let with = |head: &str, make: &str, tail: &str| format!("{head} {} {tail}", looped.replace("MAKE", make));
    let emit = "emit(prev .. ' ' .. w, 1)";
    check(Do::ForEach, &with("function(line)", emit, "end"), pairs);
    check(Do::ForEach, &with("function(...) local line = ...", emit, "return end"), pairs);
    check(Do::ForEach, &with("function(text) local line = text:lower()", emit, "end"), pairs);
    let yielded = "coroutine.yield(prev .. ' ' .. w, 1)";
    check(Do::FlatMap, &with("function(line) return coroutine.wrap(function()", yielded, "end) end"), pairs);
    let yielded = "coroutine.yield({prev .. ' ' .. w, 1})";
    check(Do::FlatMap, &with("function(line) return coroutine.wrap(function()", yielded, "end) end"), pairs);
    let listed = "t[#t + 1] = {prev .. ' ' .. w, 1}";
    check(Do::FlatMap, &with("function(line) local t = {}", listed, "return t end"), pairs);
    let listed = "table.insert(t, {prev .. ' ' .. w, 1})";
    check(Do::FlatMap, &with("function(line) local t = {}", listed, "return t end"), pairs);
    let closure = "function(line) local it = line:gmatch('%w+') local prev = it() return function()
        local w = it() if w then local p = prev prev = w return p .. ' ' .. w, 1 end end end";
    check(Do::FlatMap, closure, pairs);
}

#[test]
fn what_ends_a_function_that_makes_rows_ends_it_in_all_tiers() {
    let each = |inside: &str| format!("function(x) for w in x:gmatch('%w') do {inside} end end");
    check(Do::ForEach, &each("emit(w) if w == 'b' then return end"), "(\"a\") (\"b\")");
    check(Do::ForEach, &each("emit() emit(w, nil)"), "(\"a\",nil) (\"b\",nil) (\"c\",nil)");
    check(Do::ForEach, &each("for v in w:gmatch('b') do emit(v) end"), "(\"b\")");
    check(Do::ForEach, &each("local n n = (n or 0) + 1 emit(n)"), "(1) (1) (1)");
    let yields = |inside: &str| format!("function(x) return coroutine.wrap(function() {inside} end) end");
    check(Do::FlatMap, &yields("coroutine.yield(1) coroutine.yield(nil) coroutine.yield(2)"), "(1)");
    check(Do::FlatMap, &yields("coroutine.yield(1) coroutine.yield() coroutine.yield(2)"), "(1)");
    check(
        Do::FlatMap,
        &yields("for w in x:gmatch('%w') do if w == 'c' then return end coroutine.yield(w) end"),
        "(\"a\") (\"b\")",
    );
    check(Do::FlatMap, &yields("coroutine.yield({nil, 1}) coroutine.yield({x})"), "({2:1}) (\"a b c\")");
    let list = |inside: &str| format!("function(x) local t = {{}} for w in x:gmatch('%w') do {inside} end return t end");
    check(Do::FlatMap, &list("t[#t + 1] = w ~= 'b' and w or nil"), "(\"a\") (\"c\")");
    check(Do::FlatMap, &list("t[#t + 1] = w if w == 'b' then return end"), "");
    check(Do::FlatMap, &list("t[#t + 1] = w if w == 'b' then return {1} end"), "(1)");
    check(
        Do::FlatMap,
        "function(x) local i = 0 return function() i = i + 1 if i < 3 then return i, x end end end",
        "(1,\"a b c\") (2,\"a b c\")",
    );
    check(
        Do::FlatMap,
        "function(x) local it = ('aab'):gmatch('a*') return function() local w = it() return w end end",
        "(\"aa\") (\"\") (\"\")",
    );
    check_with(
        "",
        Do::Map,
        "function(x) local n = 0 for _ in x:gmatch('%w') do n = n + 1 end return n end",
        &[vec![s("a b c")]],
        "(3)",
    );
    check_with(
        "",
        Do::Map,
        "function(x) for k, v in x:gmatch('(%w)(%s)') do return k, v end end",
        &[vec![s("a b")]],
        "(\"a\",\" \")",
    );
    let number = [vec![Value::Int(12)]];
    check_with("", Do::ForEach, "function(x) for w in string.gmatch(x, '%d') do emit(w) end end", &number, "(\"1\") (\"2\")");
    let nothing = text(run(
        Do::FlatMap(function("function(x) local it = string.gmatch(x, 'a') return function() end end")),
        "",
        Force::Native,
        &[vec![]],
    ));
    assert!(nothing.contains("bad argument #1 to 'gmatch'"), "{nothing}");
}

#[test]
fn what_makes_rows_in_other_ways_stays_with_lua() {
    for source in [
        "function(x) local t = {} for w in x:gmatch('%w') do t[#t] = w end return t end",
        "function(x) local t = {} for w in x:gmatch('%w') do t[#t + 1] = w t[1] = 1 end return t end",
        "function(x) local t = {} local u = t for w in x:gmatch('%w') do t[#t + 1] = w end return u end",
        "function(x) for w in x:gmatch('%w') do local t = {} t[#t + 1] = w return t end end",
        "function(x) return coroutine.wrap(function() coroutine.yield(1) return 2 end) end",
        "function(x) return coroutine.wrap(function(a) coroutine.yield(a) end) end",
        "function(x) return function() x = nil end end",
        "function(x) while x do end end",
        "function(x) local it = x:gmatch('%w+') return function() local w = 1, it() return it() end end",
        "function(x) local a = 1, x + 1 return {a} end",
        "function(x) local a a, a = 1, 2 return {a} end",
        "function(x) for w in x:gmatch('%w') do break end end",
    ] {
        assert!(!lifted(source, lua::Role::FlatMap), "{source}");
    }
    for source in
        ["function(x) emit(x) return x end", "function(x) local emit = print emit(x) end", "function(x) emit(emit(x)) end"]
    {
        assert!(!lifted(source, lua::Role::ForEach), "{source}");
    }
    for (prelude, source) in [
        ("emit = print", "function(x) emit(x) end"),
        ("local t = table t.insert = nil", "function(x) local t = {} table.insert(t, x) return t end"),
        ("local c = coroutine c.wrap = nil", "function(x) return coroutine.wrap(function() coroutine.yield(x) end) end"),
    ] {
        let role = if source.contains("emit") { lua::Role::ForEach } else { lua::Role::FlatMap };
        assert!(lua::lift(source, role, "").is_ok(), "{source}");
        assert!(lua::lift(source, role, prelude).is_err(), "{prelude} | {source}");
    }
}

#[test]
fn a_row_that_makes_very_much_is_whole() {
    let many = s(&"ab ".repeat(100_000));
    let quadratic = "function(x) local all = '' for w in x:gmatch('%w+') do all = all .. w end return #all end";
    for force in [Force::Native, Force::Batched] {
        let rows = [vec![s("a b")], vec![many.clone()], vec![s("c d")]];
        let emit = "function(x) local prev for w in x:gmatch('%w+') do if prev then emit(prev .. w, w) end prev = w end end";
        let found = run(Do::ForEach(function(emit)), "", force, &rows).unwrap();
        assert_eq!((found.len(), &found[0][0], &found[100_000][0]), (100_001, &s("ab"), &s("cd")), "{force:?}");
        let short = s(&"ab ".repeat(4000));
        assert_eq!(text(run(Do::Map(function(quadratic)), "", force, &[vec![short]])), "(8000)");
    }
}

/// Wants a few rows.
struct Few(Rc<RefCell<u64>>);

impl RowSink for Few {
    fn push(&mut self, _: &[Val<'_>]) -> Result<()> {
        *self.0.borrow_mut() += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    fn wants_more(&self) -> bool {
        *self.0.borrow() < 5
    }
}

#[test]
fn an_endless_function_ends_where_nobody_wants_more() {
    for op in [
        Do::FlatMap(function("function(x) local i = 0 return function() i = i + 1 return i end end")),
        Do::FlatMap(function("function(x) return coroutine.wrap(function() while true do coroutine.yield(x) end end) end")),
        Do::ForEach(function("function(x) while true do emit(x) end end")),
        Do::Split { function: function("function(x) while true do emit.a(x) end end"), outputs: vec!["a".to_owned()] },
    ] {
        let taken = Rc::new(RefCell::new(0));
        let step = node(Op::ParallelDo(op), OnError::Fail);
        let mut sink = stage(&step, &context(""), &[], vec![Box::new(Few(Rc::clone(&taken)))]).unwrap();
        for _ in 0..600 {
            sink.push(&[Val::Int(1)]).unwrap();
        }
        sink.finish().unwrap();
        assert!(!sink.wants_more());
        assert!(*taken.borrow() < 5000, "{}", taken.borrow());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn made_rows_agree(
        exprs in prop::collection::vec(expression(true), 4),
        pattern in pattern(),
        row in prop::collection::vec(value(), 0..4),
    ) {
        let [text, one, two, three] = [0, 1, 2, 3].map(|at: usize| exprs[at].as_str());
        let looped = |inside: &str| format!("local x for x, y in ({text}):gmatch('{pattern}') do {inside} d = x end");
        let emits = looped(&format!("if {one} then emit({two}, {three}) else emit({two}) end"));
        compare(Do::ForEach, &format!("function(a, b, c, d) {emits} end"), &row)?;
        let yields = looped(&format!("coroutine.yield({one}) if y then coroutine.yield({two}, {three}) end"));
        compare(Do::FlatMap, &format!("function(a, b, c, d) return coroutine.wrap(function() {yields} end) end"), &row)?;
        let lists = looped(&format!("t[#t + 1] = {one} table.insert(t, {{{two}, {three}}})"));
        compare(Do::FlatMap, &format!("function(a, b, c, d) local t = {{}} {lists} return t end"), &row)?;
        let closure = format!("local n = 0 local it = ({text}):gmatch('{pattern}') return function()
            local x = it() n = n + 1 if {one} or n > 9 then return end d = nil return {two}, n end");
        compare(Do::FlatMap, &format!("function(a, b, c, e) local x local d = e {closure} end"), &row)?;
        let counts = looped(&format!("if {one} then return {two}, x end"));
        compare(Do::Map, &format!("function(a, b, c, d) {counts} return {three} end"), &row)?;
    }
}
