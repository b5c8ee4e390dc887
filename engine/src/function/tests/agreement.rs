//! The parser of crate `lua` against LuaJIT itself.

use proptest::prelude::*;

/// Whether LuaJIT compiles a chunk.
fn compiles(text: &str) -> Result<(), String> {
    thread_local!(static LUA: mlua::Lua = mlua::Lua::new());
    LUA.with(|lua| lua.load(text).set_mode(mlua::chunk::ChunkMode::Text).into_function())
        .map(drop)
        .map_err(|error| error.to_string())
}

fn check(chunk: &str) -> Result<(), TestCaseError> {
    // A top-level return is fine for LuaJIT but not for a prelude, so the text goes into a function.
    let text = format!("local function f(...)\n{chunk}\nend");
    let (ours, theirs) = (lua::parse_prelude(&text), compiles(&text));
    prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}\nours: {:?}\ntheirs: {:?}", chunk, ours, theirs);
    // Jumps are found out at different times.
    if let (Err(ours), Err(theirs)) = (ours, theirs)
        && !["loop", "label", "goto", "jumps"].iter().any(|word| ours.message.contains(word) || theirs.contains(word))
    {
        prop_assert!(theirs.contains(&format!(":{}:", ours.line)), "{}\nours: {:?}\ntheirs: {}", chunk, ours, theirs);
    }
    Ok(())
}

/// Pieces that programs are made of, and some that belong nowhere.
#[rustfmt::skip]
const PIECES: [&str; 86] = [
        "a",
        "b",
        "x",
        "goto",
        "continue",
        "const",
        "break",
        "return",
        "local",
        "function",
        "end",
        "if",
        "then",
        "else",
        "elseif",
        "do",
        "while",
        "repeat",
        "until",
        "for",
        "in",
        "nil",
        "true",
        "...",
        "not",
        "and",
        "or",
        "=",
        "==",
        "~=",
        "!=",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "..",
        "#",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        ":",
        "::",
        ".",
        "?.",
        "??",
        "?",
        "->",
        "|",
        "||",
        "&",
        "&&",
        "!",
        "~",
        "<<",
        ">>",
        "~>>",
        "+=",
        "..=",
        "1",
        "0x1F",
        "1e5",
        "3LL",
        "2i",
        "1_000",
        "'s'",
        "[[t]]",
        "\n",
        "--c\n",
        "::l::",
        "goto l",
        "local a",
        "a = 1",
        "f()",
        "a.b",
        "a[1]",
        "local const c = 1",
        "const k = 2",
        "k = 3",
        "@",];

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(PIECES.to_vec())
}

/// Programs that compile, to be damaged.
const PROGRAMS: [&str; 8] = [
    "local t = {1, 2; x = 3, [4] = 5, f(), ...} for i, v in ipairs(t) do if v > 1 then goto next end print(i, v) ::next:: end return t",
    "local function f(x, ...) local a, b = ... while a do a = f(a) if a then break else continue end end return a and b or -x ^ 2 end",
    "repeat local n = (n or 0) + 1 until n > 3 local s = 'a\\x41\\z  b' .. [==[ ]] ]==] return #s, not s",
    "const c = 3 local f = |x, y| -> x + y local g = x -> x?.y?.z ?? c return f(1, 2) ? g : c",
    "x, y.z, y[1] = 1, 2 a += 1 a.b ..= 'c' function a.b.c:d(e) self.f = e end return a:d 'x' {y = 1}",
    "do local a <const> = 1 end",
    "for i = 1, 10, 2 do local j = i ~ 3 | 4 & 5 << 6 >> 7 end goto l do ::l:: end ::l:: return",
    "return function(...) return select('#', ...), ... end, 1e309, 0b101, 0x1p4, 12ULL, .5, 5., 1_0",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_tokens(pieces in prop::collection::vec(piece(), 1..14)) {
        check(&pieces.join(" "))?;
    }

    #[test]
    fn damaged_programs(program in prop::sample::select(PROGRAMS.to_vec()), cuts in prop::collection::vec((0..200_usize, piece()), 1..3)) {
        let mut words: Vec<&str> = program.split(' ').collect();
        for (at, piece) in cuts {
            let at = at % words.len();
            if at.is_multiple_of(2) { words[at] = piece } else { words.insert(at, piece) }
        }
        check(&words.join(" "))?;
    }

    #[test]
    fn any_literals(text in "[-0-9a-fxXpPeE._+iLuUlb]{1,9}|\\PC{0,6}|'[ -~]{0,8}'|\\[=?\\[[ -~]{0,6}\\]=?\\]") {
        check(&format!("return {text}"))?;
    }
}

#[test]
fn programs_that_compile_do() {
    for program in
        ["::a:: ::b:: ::a::", "goto a ::b:: ::a::", "::a:: goto a", "do goto a end ::a::", "goto a local x ::a:: x = 1"]
    {
        check(program).unwrap();
    }
    for program in PROGRAMS {
        check(program).unwrap();
    }
}
