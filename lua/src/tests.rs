//! The parser against texts that LuaJIT takes or refuses. (The engine's tests ask LuaJIT itself.)

use super::*;

fn check(source: &str) -> String {
    match parse(source) {
        Ok(function) => format!("({}{})", function.params.join(","), if function.vararg { "..." } else { "" }),
        Err(error) => format!("{}: {}", error.line, error.message),
    }
}

#[test]
fn functions_are_told_from_everything_else() {
    for (source, expected) in [
        ("function(x) return x end", "(x)"),
        ("  ( (function(x, y, ...) return x end) ) -- why not", "(x,y...)"),
        ("|x, y| -> x + y", "(x,y)"),
        ("x -> x * 2", "(x)"),
        ("|| -> do return 1 end", "()"),
        ("function() end + 1", "1: one function is expected: function(...) ... end"),
        ("helper", "1: one function is expected: function(...) ... end"),
        ("", "1: unexpected symbol near '<eof>'"),
        ("function() end, 1", "1: '<eof>' expected near ','"),
        ("function name(x) end", "1: '(' expected near 'name'"),
        ("function(x)\n  return x +\nend", "3: unexpected symbol near 'end'"),
        ("function(x)\n  return x\n", "3: 'end' expected (to close 'function' at line 1) near '<eof>'"),
        ("function(x) return ... end", "1: cannot use '...' outside a vararg function near '...'"),
        ("function(x)\n break end", "2: no loop to break"),
        ("function(x) goto out end", "1: undefined label 'out'"),
        ("function(x) return 'a\nb' end", "1: unfinished string"),
        ("function(x) return 0x end", "1: malformed number near '0x'"),
        ("function(x) f\n(x) end", "2: ambiguous syntax (function call x new statement) near '('"),
    ] {
        assert_eq!(check(source), expected, "{source}");
    }
}

#[test]
fn nesting_without_end_is_an_error_and_no_overflow() {
    let deep = |open: &str, close: &str| format!("function(x) return {}x{} end", open.repeat(100_000), close.repeat(100_000));
    for (open, close) in [("(", ")"), ("{", "}"), ("- ", ""), ("not ", ""), ("x..", ""), ("x^", ""), ("function() return ", " end"), ("x?1:", "")] {
        assert!(check(&deep(open, close)).ends_with("chunk has too many syntax levels"), "{open}");
    }
    for (open, close) in [("x+", ""), ("", ".y"), ("", "()"), ("", ":f()"), ("", "[1]"), ("", "?.y")] {
        assert_eq!(check(&deep(open, close)), "(x)", "{open}{close}");
    }
    let elses = format!("function(x) if x then {} end end", "elseif x then ".repeat(100_000));
    assert_eq!(check(&elses), "(x)");
    let blocks = format!("function(x) {} {} end", "do ".repeat(100_000), "end ".repeat(100_000));
    assert!(check(&blocks).ends_with("chunk has too many syntax levels"));
    let fields = format!("function(x) function a{} () end end", ".b".repeat(100_000));
    assert_eq!(check(&fields), "(x)");
}

#[test]
fn the_parameters_that_a_text_names_are_its_reads() {
    let check = |source: &str| reads(&parse(source).unwrap()).map(|reads| reads.into_iter().collect::<Vec<_>>());
    assert_eq!(check("function(a, b, c) return c, a end"), Some(vec![0, 2]));
    assert_eq!(check("function(a, b) local a = 1 return a + b end"), Some(vec![1]));
    assert_eq!(check("function(a, b) return function(a) return a end end"), Some(vec![]));
    assert_eq!(check("function(a, b) return function(c) return b end end"), Some(vec![1]));
    assert_eq!(check("function(a, ...) return 1 end"), None);
    assert_eq!(check("function(a, b) return debug.getlocal(1, 2) end"), None);
}

#[test]
fn a_prelude_is_a_chunk_that_does_not_return() {
    assert_eq!(parse_prelude("local x <const> = 1").map_err(|error| error.line), Err(1));
    assert_eq!(parse_prelude("x = 1\nreturn x").map_err(|error| error.line), Err(2));
    assert_eq!(parse_prelude("#!lua\nlocal function f(x) return x end\nconst y = 1"), Ok(()));
    assert_eq!(parse_behind("const y = 1", "function(x) y = 2 end").unwrap_err().message, "attempt to assign to const variable 'y'");
    assert_eq!(parse_behind("const y = 1", "function(y) end").unwrap_err().message, "attempt to re-declare const variable 'y'");
}
