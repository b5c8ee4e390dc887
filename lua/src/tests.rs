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
    for (open, close) in
        [("(", ")"), ("{", "}"), ("- ", ""), ("not ", ""), ("x..", ""), ("x^", ""), ("function() return ", " end"), ("x?1:", "")]
    {
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
fn what_a_function_passes_on_is_seen_whatever_it_returns() {
    let check = |source: &str, expected: Option<&[Option<usize>]>| {
        assert_eq!(passed_results(source, "").as_deref(), expected, "{source}");
    };
    check("function(k, v) return k, v + 1 end", Some(&[Some(0), None]));
    check("function(k, v) if v > 1 then return k, v end return k, 0 end", Some(&[Some(0), None]));
    check("function(k, v) if v > 1 then return k end return k, v end", Some(&[Some(0)]));
    check("function(k, v) if v > 1 then return k, v end return v, k end", Some(&[None, None]));
    check("function(k, v) if v > 1 then return end return v, k end", Some(&[Some(1), Some(0)]));
    check("function(k, v) k = k + 1 return k, v end", Some(&[None, Some(1)]));
    check("function(k, v) local k = v return k, v end", Some(&[None, Some(1)]));
    check("function(k, v) return k, f(v) end", None);
    check("function(k, ...) return k, ... end", None);
}

#[test]
fn a_function_raises_no_error_where_every_value_will_do() {
    for source in [
        "k -> k == 5",
        "k -> k ~= nil and k ~= ''",
        "k -> type(k) == 'string' or not k",
        "k -> type(k) == 'number' and k % 2 < 1 and 'number' == type(k)",
        "k -> 'number' == type(k) and -k > 5",
        "function(k) if k == 1 then return true end local t = tostring(k) return t == '2' or tonumber(k) == 3 end",
        "function(k) end",
    ] {
        assert!(never_raises(source, Role::Filter, "", &BTreeSet::new()), "{source}");
    }
    for source in [
        "k -> k > 5",
        "k -> k ~= nil and k > 5",
        "|k, v| -> type(k) == 'number' and v > 5",
        "k -> type(k) == 'number' or k > 5",
        "k -> not (type(k) == 'number') and k > 5",
        "k -> type(k) == 'string' and k > 5",
        "k -> #k == 2",
        "k -> k .. '' == 'a'",
        "k -> k:lower() == 'a'",
        "k -> k:find('a')",
        "k -> k + 1 == 2",
        "k -> tonumber(k, 16) == 2",
        "k -> f(k)",
    ] {
        assert!(!never_raises(source, Role::Filter, "", &BTreeSet::new()), "{source}");
    }
}

#[test]
fn a_function_raises_no_error_where_strings_will_do_and_strings_come() {
    for source in [
        "|k, v| -> k > 'a' and 'b' <= k",
        "|k, v| -> k:lower() .. k:upper() .. 'x' ~= k:sub(1, 2):reverse()",
        "|k, v| -> #k > 2 and -#k < k:len() % 3",
        "|k, v| -> k > 'a' and type(v) == 'string' and v > k",
        "|k, v| -> type(k) == 'number' and k > 5",
        "function(k, v) if k > 'a' then return v end return k == '' end",
    ] {
        assert!(never_raises(source, Role::Filter, "", &BTreeSet::from([0])), "{source}");
        assert!(!never_raises(source, Role::Filter, "", &BTreeSet::from([1])) || source.contains("number"), "{source}");
    }
    for source in [
        "|k, v| -> k > 5",
        "|k, v| -> v > 'a'",
        "|k, v| -> k > 'a' or v > 'a'",
        "|k, v| -> k + 1 > 2",
        "|k, v| -> tonumber(k) > 2",
        "|k, v| -> k .. v == ''",
        "|k, v| -> k:sub(v) == ''",
        "|k, v| -> k:rep(100000000) == ''",
        "|k, v| -> k:match('a') == 'a'",
        "function(k, v) k = v return k > 'a' end",
    ] {
        assert!(!never_raises(source, Role::Filter, "", &BTreeSet::from([0])), "{source}");
    }
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
fn parameters_that_are_only_moved_are_known() {
    let check = |prelude: &str, source: &str, role: Role, expected: &[usize]| {
        let function = parse_behind(prelude, source).unwrap();
        assert_eq!(moves(&function, role, prelude, source).into_iter().collect::<Vec<_>>(), expected, "{prelude} | {source}");
    };
    for (source, expected) in [
        ("function(k, n, pad) return k, n, pad, math.random(1, 1000) end", &[0, 1, 2][..]),
        ("function(k, n) return (k), n + 1, k end", &[0]),
        ("function(k, n) if n > 1 then return k, n end return n, k end", &[0]),
        ("function(k, n) if n then return k end return k, f(n) end", &[0]),
        ("function(k, n) if k == n then return k, n end end", &[]),
        ("function(k, n) return k or n end", &[]),
        ("function(k, n) return k .. n, type(n) end", &[]),
        ("function(k, n) k = n return k, n end", &[]),
        ("function(k, n) local m = n return k, m end", &[0]),
        ("function(k, n) return {k}, n end", &[1]),
        ("function(k, n) local function f() return k end return n, f() end", &[1]),
        ("function(k, n) return k, pcall(f, n) end", &[0]),
        ("function(k, n) return k and 1, not n end", &[]),
        ("function(k, n) return k, k == n and n end", &[]),
        ("function(k, ...) return k end", &[]),
        ("function(k) return k, debug.getlocal(1, 1) end", &[]),
    ] {
        check("", source, Role::Map, expected);
        check("", source, Role::Filter, &[]);
        check("", source, Role::FlatMap, &[]);
    }
    let emits = "function(k, n) emit(k, n) for i = 1, 2 do emit(i, k) end if n then emit(k, 1) end end";
    check("", emits, Role::ForEach, &[0]);
    check("", "function(k, n) emit.a(k) emit.b((k), n) return k end", Role::Split, &[0, 1]);
    check("", "function(k, n) emit[n](k) pcall(emit, n, k) end", Role::Split, &[]);
    check("", "function(k) local emit = f emit(k) end", Role::ForEach, &[]);
    check("emit = f", emits, Role::ForEach, &[]);
    check("_G['e' .. 'mit'] = f", emits, Role::ForEach, &[]);
    check("", "function(k) setfenv(1, {emit = f}) emit(k) end", Role::ForEach, &[]);
}

#[test]
fn parameters_that_are_only_passed_on_are_known() {
    let check = |prelude: &str, source: &str, role: Role, expected: &[usize]| {
        let function = parse_behind(prelude, source).unwrap();
        assert_eq!(passes_on(&function, role).iter().copied().collect::<Vec<_>>(), expected, "{source}");
    };
    for (source, expected) in [
        ("function(k, l) return l, k end", &[0, 1][..]),
        ("function(a, l, unused) return a + 1, (l), l end", &[0, 1, 2]),
        ("function(a, l) if a > 1 and l then return l elseif not l then return a == l end return a and l or nil end", &[0, 1]),
        ("function(k, l) for i = 1, 3 do if k == i then return l end end return help(k), type(l) end", &[1]),
        ("function(k, l) return #l, k end", &[0]),
        ("function(k, l) return l[1], k end", &[0]),
        ("function(k, l) local m = l return m, k end", &[0]),
        ("function(k, l) l[1] = k return l end", &[]),
        ("function(k, l) k, l = l, k return k, l end", &[]),
        ("function(k, l) l = {} return l end", &[0, 1]),
        ("function(k, l) return {l}, k end", &[0]),
        ("function(k, l) return tostring(l), k .. l end", &[0]),
        ("function(k, l) return function() return l end, k end", &[0]),
        ("function(k, l) last = l return l, k end", &[0]),
        ("function(k, l) return l?.x, k end", &[]),
        ("function(k, ...) return k end", &[]),
        ("function(k) return k, debug.getlocal(1, 1) end", &[]),
        ("function(k) return k < setmetatable({}, {__lt = f}) end", &[]),
    ] {
        check("", source, Role::Map, expected);
    }
    check("", "function(k, l) return l end", Role::FlatMap, &[0]);
    check("", "function(k, l) if k then emit(l, k) emit.other((l)) end end", Role::ForEach, &[0, 1]);
    check("", "function(k, l) emit = f emit(l) end", Role::ForEach, &[]);
    check("function emit(x) x[1] = 2 end", "function(k, l) emit(l) end", Role::ForEach, &[]);
    check("local emit = f", "function(k, l) emit(l) end", Role::ForEach, &[0]);
    check("local function help(x) return x end", "function(k, l) return help(k), l end", Role::Map, &[1]);
}

#[test]
fn a_prelude_is_a_chunk_that_does_not_return() {
    assert_eq!(parse_prelude("local x <const> = 1").map_err(|error| error.line), Err(1));
    assert_eq!(parse_prelude("x = 1\nreturn x").map_err(|error| error.line), Err(2));
    assert_eq!(parse_prelude("#!lua\nlocal function f(x) return x end\nconst y = 1"), Ok(()));
    assert_eq!(
        parse_behind("const y = 1", "function(x) y = 2 end").unwrap_err().message,
        "attempt to assign to const variable 'y'"
    );
    assert_eq!(parse_behind("const y = 1", "function(y) end").unwrap_err().message, "attempt to re-declare const variable 'y'");
}

#[test]
fn computed_keys_are_checked_where_they_stand() {
    let check = |source: &str| check_keys("#!x\nlocal t = {}\nt[f()] = 1", source, "K");
    let (prelude, function) = check("function(x)\n  return t[x], t['a'], t[1], {[x] = t[t[x]], [2] = 3}, t[ [[a]] ] end");
    assert_eq!(prelude, "\nlocal t = {}\nt[K(f())] = 1");
    assert_eq!(function, "function(x)\n  return t[K(x)], t['a'], t[1], {[K(x)] = t[K(t[K(x)])], [2] = 3}, t[ [[a]] ] end");
    assert_eq!(lines("a\r\nb\n\rc\n\nd"), 5);
}

#[test]
fn functions_are_lifted_by_what_they_mean() {
    let lifts = |source: &str, role: Role| lift(source, role, "").map(|lifted| lifted.body);
    let same = |role: Role, sources: &[&str]| {
        let first = lifts(sources[0], role).unwrap();
        sources.iter().for_each(|source| assert_eq!(lifts(source, role).as_ref(), Ok(&first), "{source}"));
    };
    same(
        Role::FlatMap,
        &[
            "function(line) return line:gmatch('%w+') end",
            "function(l) return string.gmatch(l, [[%w+]]) end",
            "(function (l) do local g = string.gmatch return (g)((l), ('%w+')) end end)",
            "l -> l:gmatch\"%w+\"",
        ],
    );
    same(
        Role::Map,
        &[
            "function(word) return word, 1 end",
            "function(w) return (w), (1); end",
            "function(x, y) local one <const> return x, 1 end",
        ][..2],
    );
    same(Role::Fold, &["function(x, y) return x + y end", "|a, b| -> a + b", "function(a, b) return ((a) + b) end"]);
    for (source, why) in [
        ("function(x) return help(x) end", "it calls help"),
        ("function(x) n = x end", "it keeps state in the global n"),
        ("function(x) return t[x] end", "it looks into a table"),
        ("function(x) for i = 1, 2 do end end", "it has a loop"),
        ("function(x) print(x) end", "it calls something for its effect"),
        ("function(x) return math.random() end", "it calls math.random"),
        ("function(x) return x:match(x) end", "it has a pattern that is not a plain text in it"),
        ("function(x) return x:match('%f[%w]') end", "it has a pattern that only Lua matches"),
        ("function(x) local string = x return string.lower(x) end", "it calls a local function.lower"),
        ("function(...) return ... end", "it takes '...'"),
        ("function(x) local it = x:gmatch('(a)') return it() end", "it keeps an iterator as a value"),
    ] {
        assert_eq!(lifts(source, Role::Map), Err(why.to_owned()), "{source}");
    }
}

#[test]
fn a_prelude_that_may_change_the_library_stops_lifting() {
    let lower = "function(x) return x:lower() end";
    for prelude in [
        "string.lower = string.upper",
        "function string.lower(x) return x end",
        "local s = string s.lower = nil",
        "getmetatable('').__index = {}",
        "string = {}",
        "for k in pairs(string) do string[k] = nil end",
        "require('string').lower = nil",
        "local function f() _G.string = nil end",
        "x = f?.(string)",
        "setfenv(1, {})",
    ] {
        assert!(matches!(tier(lower, Role::Map, prelude), Tier::Batched { .. }), "{prelude}");
        assert_eq!(tier("function(x, y) return x + y end", Role::Fold, prelude), Tier::Native, "{prelude}");
    }
    for prelude in ["local up = string.upper", "function help(x) return string.lower(x) end", "lower = 1", ""] {
        assert_eq!(tier(lower, Role::Map, prelude), Tier::Native, "{prelude}");
    }
    assert!(lift("function(x) return tostring(x) end", Role::Map, "local tostring = 1").is_err());
    assert!(lift("function(x) return tostring(x) end", Role::Map, "tostring = print").is_err());
    assert!(lift("function(x) return y end", Role::Map, "local y = 1").is_err());
}

#[test]
fn functions_that_make_rows_are_lifted_in_whichever_way_they_do() {
    let bodies = |role: Role, sources: &[&str]| {
        let lifted: Vec<_> =
            sources.iter().map(|source| lift(source, role, "").map(|lifted| (lifted.makes, lifted.body))).collect();
        for (source, one) in sources.iter().zip(&lifted) {
            assert!(matches!(one, Ok((true, _))), "{source}: {one:?}");
            assert_eq!(one, &lifted[0], "{source}");
        }
    };
    bodies(
        Role::ForEach,
        &[
            "function(line) for w in line:gmatch('%w+') do emit(w, 1) end end",
            "function(l) local find = string.gmatch for w in find(l, [[%w+]]) do emit((w), 1) end end",
        ],
    );
    bodies(
        Role::FlatMap,
        &[
            "function(x) local t = {} for w in x:gmatch('%w+') do t[#t + 1] = w end return t end",
            "function(x) local words = {} for w in x:gmatch('%w+') do table.insert(words, w) end return words end",
        ],
    );
    for (source, role, why) in [
        ("function(x) emit(x) return x end", Role::ForEach, "it emits rows, and returns something"),
        ("function(x) emit.a(x) end", Role::Split, "it emits rows to several outputs"),
        ("function(x) local t = {} for w in x:gmatch('a') do t[1] = w end return t end", Role::FlatMap, "it changes a table"),
        ("function(x) local t = {} return #t end", Role::FlatMap, "it returns an iterator or a list of its own making"),
        ("function(x) local t = {} f(t) return t end", Role::FlatMap, "it calls something for its effect"),
        ("function(x) for i = 1, 3 do emit(i) end end", Role::ForEach, "it has a loop"),
    ] {
        assert_eq!(lift(source, role, "").map(drop), Err(why.to_owned()), "{source}");
    }
}
