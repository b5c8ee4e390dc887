//! What crosses between rows and Lua, in functions that LuaJIT compiles and in those that it does not.

use super::*;

/// Something in a function that keeps LuaJIT from compiling it.
const UNCOMPILED: &str = "local function _() return x end";

fn rows(count: i64) -> Vec<Vec<Value>> {
    (0..count).map(|i| vec![Value::Int(i), s(&format!("k{i}")), Value::Float(i as f64 + 0.5)]).collect()
}

#[test]
fn rows_of_any_width_come_out_whole() {
    for width in [1, 2, 3, 4, 5, 8, 9, 20, 119, 120, 121, 190] {
        let list =
            (1..=width).map(|i| if i % 7 == 0 { "nil".to_owned() } else { format!("x + {i}") }).collect::<Vec<_>>().join(", ");
        let expected = |x: i64| (1..=width).map(|i| if i % 7 == 0 { Value::Nil } else { Value::Int(x + i) }).collect::<Vec<_>>();
        let expected: Vec<Vec<Value>> = (0..300).map(expected).collect();
        for body in ["", UNCOMPILED] {
            let map = Do::Map(function(&format!("function(x) {body} return {list} end")));
            assert_eq!(run(map, "", Force::Batched, &rows(300)).unwrap(), expected, "{width} {body}");
            let emit = Do::ForEach(function(&format!("function(x) {body} emit({list}) end")));
            assert_eq!(run(emit, "", Force::Batched, &rows(300)).unwrap(), expected, "{width} {body}");
        }
    }
    let wide: Vec<Vec<Value>> = [0, 1, 5, 119, 120, 121, 190].iter().map(|width| (0..*width).map(Value::Int).collect()).collect();
    let found = run(Do::Map(function("function(...) return select('#', ...), ... end")), "", Force::Batched, &wide).unwrap();
    for (row, found) in wide.iter().zip(found) {
        assert_eq!(found[0], Value::Int(row.len() as i64));
        assert_eq!(found[1..], row[..]);
    }
}

#[test]
fn what_is_only_moved_is_as_if_lua_had_seen_it() {
    let values = [
        Value::Nil,
        Value::Bool(false),
        Value::Bool(true),
        Value::Int(BIG),
        Value::Int(i64::MIN),
        Value::Float(4.0),
        Value::Float(-0.0),
        Value::Float(0.5),
        Value::Float(f64::NAN),
        s(""),
        s("text"),
        Value::List(vec![Value::Nil, Value::Float(4.0)]),
        Value::Map(vec![]),
        Value::Map(vec![(Value::Int(BIG), s("x"))]),
    ];
    let rows: Vec<Vec<Value>> = values.iter().map(|value| vec![s("k"), value.clone()]).chain([vec![s("k")], vec![]]).collect();
    let returned = |value: &Value| match value {
        Value::Float(f) if f.fract() == 0.0 => Value::Int(*f as i64),
        other => other.clone(),
    };
    let field = |row: &Vec<Value>, at: usize| row.get(at).map_or(Value::Nil, returned);
    let expected: Vec<String> =
        rows.iter().map(|row| shown(&[field(row, 1), Value::Int(1), field(row, 0), field(row, 1)])).collect();
    let expected = expected.join(" ");
    for force in [Force::Native, Force::Batched, Force::PerRow] {
        let map = Do::Map(function("function(k, v) return v, tonumber('1'), k, v end"));
        assert_eq!(text(run(map, "", force, &rows)), expected, "{force:?}");
        let emit = Do::ForEach(function("function(k, v) emit(v, 1, (k), v) return k end"));
        assert_eq!(text(run(emit, "", force, &rows)), expected, "{force:?}");
    }
}

#[test]
fn nothing_is_kept_of_a_row_that_cannot_be_given() {
    let source = "function(x) emit(x, 'before') pcall(emit, x, {x}, print) pcall(emit, {{print}}) \
                  emit({x}, 'after') pcall(emit, {x}, {x}, {y = io.stderr}) emit({x, x}) end";
    for force in [Force::Batched, Force::PerRow] {
        let found = text(run(Do::ForEach(function(source)), "", force, &rows(2)));
        assert_eq!(found, "(0,\"before\") ([0],\"after\") ([0,0]) (1,\"before\") ([1],\"after\") ([1,1])");
    }
}

#[test]
fn a_table_is_given_as_it_is_then() {
    let source =
        "function(x) local t = {} for i = 1, 3 do t[i] = x + i emit(t, i) end t.name = 'x' emit(t) t[1] = nil emit(t) end";
    let found = text(run(Do::ForEach(function(source)), "", Force::Batched, &rows(1)));
    assert_eq!(found, "([1],1) ([1,2],2) ([1,2,3],3) ({1:1,2:2,3:3,\"name\":\"x\"}) ({2:2,3:3,\"name\":\"x\"})");
    let shared = "function(x) shared = shared or {} shared[#shared + 1] = x return shared end";
    assert_eq!(text(run(Do::Map(function(shared)), "", Force::Batched, &rows(3))), "([0]) ([0,1]) ([0,1,2])");
}

#[test]
fn the_row_that_cannot_be_handed_over_is_the_one_that_fails() {
    let unfit = Value::Map(vec![(Value::Int(BIG), s("x"))]);
    let rows: Vec<Vec<Value>> = (0..40).map(|i| vec![Value::Int(i), if i % 10 == 5 { unfit.clone() } else { s("v") }]).collect();
    for source in
        ["function(x, v) n = (n or 0) + 1 return x, n, type(v), #v end", "function(...) n = (n or 0) + 1 return ..., n end"]
    {
        for force in [Force::Batched, Force::PerRow] {
            let (ctx, out, letters) = (context(""), Rows::default(), Rows::default());
            let step = node(Op::ParallelDo(Do::Map(function(source))), OnError::DeadLetter);
            let outs: Vec<Box<dyn RowSink>> = vec![Box::new(out.clone()), Box::new(letters.clone())];
            let mut sink = stage_as(&step, &ctx, &[], outs, force.tiers()).unwrap();
            for row in &rows {
                let encoded: Vec<Vec<u8>> = row
                    .iter()
                    .map(|value| {
                        let mut bytes = Vec::new();
                        codec::write_value(&mut bytes, value);
                        bytes
                    })
                    .collect();
                let row: Vec<Val<'_>> = encoded.iter().map(|bytes| codec::read_val(&mut bytes.as_slice()).unwrap()).collect();
                sink.push(&row).unwrap();
            }
            sink.finish().unwrap();
            let given: Vec<Value> = out.0.take().into_iter().map(|row| row[0].clone()).collect();
            assert_eq!(given, (0..40).filter(|i| i % 10 != 5).map(Value::Int).collect::<Vec<_>>(), "{source} {force:?}");
            let letters: Vec<Value> = letters.0.take().into_iter().map(|row| row[0].clone()).collect();
            assert_eq!(letters, [5, 15, 25, 35].map(Value::Int), "{source} {force:?}");
        }
    }
    let error = text(run(Do::Map(function("function(x, v) return #v end")), "", Force::Batched, &rows));
    assert!(error.starts_with("step \"f\" failed on row (5, "), "{error}");
    assert!(error.ends_with("an integer beyond 2^53 cannot be the key of a table"), "{error}");
}

#[test]
fn a_row_of_many_emits_goes_on_before_it_is_done() {
    /// The most rows that stood in the engine at once cannot be seen from outside; that they come before the function ends can.
    struct Count(Rc<std::cell::Cell<u64>>);
    impl RowSink for Count {
        fn push(&mut self, _: &[Val<'_>]) -> Result<()> {
            self.0.set(self.0.get() + 1);
            if self.0.get() == 20_000 { Err(Error::Interrupted) } else { Ok(()) }
        }
        fn finish(&mut self) -> Result<()> {
            Ok(())
        }
    }
    for body in ["emit(i)", "emit(i, {i}, 'a', 4, 5)", "coroutine.wrap(function() emit(x, i) end)()"] {
        let seen = Rc::new(std::cell::Cell::new(0));
        let step = node(
            Op::ParallelDo(Do::ForEach(function(&format!("function(x) local i = 0 while true do i = i + 1 {body} end end")))),
            OnError::Fail,
        );
        let mut sink = stage(&step, &context(""), &[], vec![Box::new(Count(Rc::clone(&seen)))]).unwrap();
        let result = sink.push(&[Val::Int(1)]).and_then(|()| sink.finish());
        assert!(matches!(result, Err(Error::Interrupted)), "{body}");
        assert_eq!(seen.get(), 20_000, "{body}");
    }
}
