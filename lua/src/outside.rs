//! What a function's results may depend on beside its arguments: clocks, files, random numbers. Found in the tokens alone, so
//! that no spelling hides it; a local variable called like a library is taken for it.

use crate::lex::{Lexer, Token};

/// What a function may look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looks {
    /// A global that leads outside the flow (`os`, `io`, ...) or to anything at all (`_G`, `load`, ...).
    pub outside: Option<String>,
    /// It may draw random numbers.
    pub random: bool,
}

const OUTSIDE: [&str; 15] = [
    "_G",
    "collectgarbage",
    "debug",
    "dofile",
    "ffi",
    "gcinfo",
    "getfenv",
    "io",
    "jit",
    "load",
    "loadfile",
    "loadstring",
    "os",
    "package",
    "require",
];

/// What a function behind a prelude may look at. A text that does not parse may look anywhere.
#[must_use]
pub fn looks(prelude: &str, function: &str) -> Looks {
    let mut looks = Looks::default();
    for mut lexer in [Lexer::of_chunk(prelude), Lexer::new(function)] {
        if looks.read(&mut lexer).is_err() {
            return Looks { outside: Some("what is no Lua".to_owned()), random: true };
        }
    }
    looks
}

impl Looks {
    fn read(&mut self, lexer: &mut Lexer<'_>) -> Result<(), crate::SyntaxError> {
        // A field of something else is no global.
        let (mut is_field, mut behind_math) = (false, false);
        loop {
            let token = lexer.next()?;
            if behind_math && token != Token::Sign(".") {
                // The library as a whole: under another name, or by a computed field.
                self.random = true;
            }
            behind_math = false;
            match &token {
                Token::End => return Ok(()),
                Token::Name(name) if &**name == "random" || &**name == "randomseed" => self.random = true,
                Token::Name(name) if !is_field => {
                    behind_math = &**name == "math";
                    if OUTSIDE.contains(&&**name) && self.outside.is_none() {
                        self.outside = Some(name.to_string());
                    }
                }
                Token::Name(_) | Token::Sign(_) | Token::Number(_) | Token::Str(_) | Token::Odd(_) => {}
            }
            is_field = matches!(token, Token::Sign("." | ":" | "?."));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_files_and_random_numbers_are_seen() {
        let check = |prelude: &str, function: &str, outside: Option<&str>, random: bool| {
            let expected = Looks { outside: outside.map(str::to_owned), random };
            assert_eq!(looks(prelude, function), expected, "{prelude} | {function}");
        };
        check("", "function(x) return x, math.floor(x) end", None, false);
        check("", "function(x) return x.os, x:load(), 'os.time' end -- os.time", None, false);
        check("", "function(x) return os.time() end", Some("os"), false);
        check("", "function(x) return _G['o' .. 's'].time() end", Some("_G"), false);
        check("local clock = os.clock", "function(x) return clock() end", Some("os"), false);
        check("", "function(x) return math.random() end", None, true);
        check("", "function(x) return math['ran' .. 'dom']() end", None, true);
        check("local m = math", "function(x) return m.huge end", None, true);
        check("", "function(x) return 'unfinished end", Some("what is no Lua"), true);
    }
}
