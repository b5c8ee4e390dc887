//! Lists and maps that a function passes on keep what Lua's tables cannot hold: nils, 4.0 beside 4, the difference of {} and [].

use super::*;

fn map_of(pairs: &[(&str, Value)]) -> Value {
    Value::Map(pairs.iter().map(|(key, value)| (s(key), value.clone())).collect())
}

/// A list of everything that a table would change, and of what it would not.
fn odd() -> Value {
    Value::List(vec![
        Value::Nil,
        Value::Float(4.0),
        Value::Float(-0.0),
        Value::Float(f64::NAN),
        Value::Int(BIG),
        Value::Str(vec![0xff, 0]),
        Value::List(vec![]),
        Value::Map(vec![]),
        map_of(&[("a", Value::Nil), ("b", Value::Float(4.0))]),
        Value::Map(vec![(Value::Int(1), s("x"))]),
        Value::List(vec![Value::Int(1), Value::Nil]),
        Value::Nil,
    ])
}

/// What Lua makes of it once something is changed: a map, as there are holes in it.
const CHANGED: &str =
    "({2:5,3:0,4:NaN,5:9007199254740993,6:\"\u{fffd}\\0\",7:[],8:{},9:{\"a\":nil,\"b\":4.0},10:{1:\"x\"},11:[1,nil]})";

fn everywhere(op: impl Fn(Function) -> Do, source: &str, expected: &str) {
    check_with("function same(x) return x end", op, source, &[vec![s("k"), odd()]], expected);
}

#[test]
fn a_list_that_is_passed_on_stays_as_it_is() {
    let whole = shown(&[odd(), s("k")]);
    for source in [
        "function(k, l) return l, k end",
        "function(k, l) if k == 'k' and l then return l, k end return nil, k end",
        "function(k, l) return same(l), k end",
        "function(k, l) local m = l return type(m) == 'table' and m, k end",
        "function(k, l) if #k == 1 and l[2] == 4 and l[5] > 0LL then return l, k end end",
        "function(k, l) for i, v in pairs(l) do if v == k then return k, l end end return l, k end",
        "function(k, l) local n = 0 for _ in pairs(l) do n = n + 1 end return n == 10 and l, k end",
        "function(...) local k, l = ... return l, k end",
        "function(k, l) local t = l[2] l[2] = 5 l[2] = t return l, k end",
    ] {
        everywhere(Do::Map, source, &whole);
    }
    everywhere(Do::ForEach, "function(k, l) emit(l, k) end", &whole);
    everywhere(Do::ForEach, "function(k, l) local e = emit e(l, k) end", &whole);
    everywhere(Do::Filter, "function(k, l) return l end", &shown(&[s("k"), odd()]));
    everywhere(Do::Map, "function(k, l) return {l} end", &shown(&[Value::List(vec![odd()])]));
    everywhere(Do::Map, "function(k, l) return l, {x = l[9]}, l end", &{
        let Value::List(items) = odd() else { unreachable!() };
        shown(&[odd(), map_of(&[("x", items[8].clone())]), odd()])
    });
}

#[test]
fn a_list_that_is_changed_is_what_lua_made_of_it() {
    everywhere(Do::Map, "function(k, l) l[2] = 5 return l end", CHANGED);
    everywhere(Do::Map, "function(k, l) local m = l m[2] = 5 return l end", CHANGED);
    everywhere(Do::Map, "function(k, l) for i = 1, 12 do l[i] = i < 3 and 4 or nil end return l end", "([4,4])");
    everywhere(Do::Map, "function(k, l) l[9].c = 1 return l[9], l[2] end", "({\"b\":4,\"c\":1},4)");
}

#[test]
fn a_list_is_kept_by_functions_that_keep_state() {
    let rows = [vec![odd()], vec![Value::Int(1)], vec![Value::Int(2)]];
    let source = "function(x) local before = last last = type(x) == 'table' and x or last return before end";
    let expected = format!("(nil) {} {}", shown(&[odd()]), shown(&[odd()]));
    check_with("", Do::Map, source, &rows, &expected);
}

#[test]
fn a_list_that_a_flat_map_returns_gives_a_row_for_every_item() {
    let list = Value::List(vec![
        Value::Nil,
        Value::Float(4.0),
        Value::List(vec![s("a"), Value::Nil, s("c")]),
        Value::List(vec![Value::Int(1), Value::Nil]),
        Value::List(vec![]),
        map_of(&[("x", Value::Nil)]),
        Value::Map(vec![(Value::Int(1), s("y"))]),
        Value::Nil,
    ]);
    let rows = [vec![s("k"), list.clone()]];
    let items = "(nil) (4) (\"a\",nil,\"c\") (1,nil) ({\"x\":nil}) ({1:\"y\"}) (nil)";
    check_with("", Do::FlatMap, "function(k, l) return l end", &rows, items);
    let keyed = "function(k, l) local i = 0 return function() i = i + 1 if i <= 8 then return k, l[i] end end end";
    let items = "(\"k\",nil) (\"k\",4) (\"k\",[\"a\",nil,\"c\"]) (\"k\",[1,nil]) (\"k\",[]) (\"k\",{\"x\":nil}) \
                 (\"k\",{1:\"y\"}) (\"k\",nil)";
    check_with("", Do::FlatMap, keyed, &rows, items);
    check_with("", Do::FlatMap, "function(k, l) return {{k, l}} end", &rows, &shown(&[s("k"), list.clone()]));
    check_with("", Do::FlatMap, "function(k, l) return {l[3], l[4]} end", &rows, "(\"a\",nil,\"c\") (1,nil)");
    let changed = "step \"f\" failed on row (\"k\", [null,4.0,[\"a\",null,\"c\"],[1,null],[],{\"x\":null},{\"1\":\"y\"},null]): \
                   the function at flow.yaml:3:5 failed: a flatMap must return an iterator or a list, not a map";
    check_with("", Do::FlatMap, "function(k, l) l[2] = 5 return l end", &rows, changed);
}

#[test]
fn what_a_function_does_not_look_into_need_not_fit_a_table() {
    let unfit = Value::Map(vec![(Value::Int(BIG), s("x"))]);
    let rows = [vec![s("k"), unfit.clone()]];
    check_with("", Do::Map, "function(k, m) return m, k end", &rows, &shown(&[unfit.clone(), s("k")]));
    check_with("", Do::Map, "function(k, m) return print and m end", &rows, &shown(&[unfit]));
    check_with("", Do::Map, "function(k, m) return k .. '!' end", &rows, "(\"k!\")");
    let looks = text(run(Do::Map(function("function(k, m) return m.x end")), "", Force::Native, &rows));
    assert!(looks.ends_with("an integer beyond 2^53 cannot be the key of a table"), "{looks}");
}

#[test]
fn folds_pass_lists_on() {
    let (short, long) = (Value::List(vec![Value::Float(4.0)]), odd());
    for source in [
        "function(a, b) return b end",
        "function(a, b) if #a > #b then return a end return b end",
        "function(a, b) local m = b return m end",
    ] {
        for force in [Force::Native, Force::Batched] {
            let step = node(Op::Combine(plan::Fold::Lua(function(source))), OnError::Fail);
            let mut folder = fold::folder_as(&step, &context(""), &[], force.tiers()).unwrap();
            let encoded = [&short, &long].map(|value| {
                let mut bytes = Vec::new();
                codec::write_value(&mut bytes, value);
                bytes
            });
            let [a, b] = encoded.each_ref().map(|bytes| codec::read_val(&mut bytes.as_slice()).unwrap());
            let mut out = RowBuf::default();
            crate::fold::Folder::fold(&mut folder, &[a], &[b], &mut out).unwrap();
            let found: Vec<Value> = out.iter().map(|value| codec::to_value(value).unwrap()).collect();
            assert_eq!(shown(&found), shown(&[long.clone()]), "{source} {force:?}");
        }
    }
}
