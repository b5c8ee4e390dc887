//! Lua's patterns, compiled: those without `%b`, `%f` and back references, which only LuaJIT matches.

/// Bytes that a pattern's item accepts.
pub type ByteSet = [bool; 256];

/// A pattern that can be matched without Lua.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    items: Vec<Item>,
    /// Begins with `^`.
    anchored: bool,
    captures: usize,
    /// If it is one class, `%w+`: that class.
    run: Option<Box<ByteSet>>,
    /// If it is plain text: that text.
    plain: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    One(Box<ByteSet>),
    /// `*`, `+`: as many as possible, at least so many.
    Many(Box<ByteSet>, usize),
    /// `-`: as few as possible.
    Few(Box<ByteSet>),
    Optional(Box<ByteSet>),
    Open(usize),
    Close(usize),
    /// `()`
    Position(usize),
    /// `$` at the end.
    End,
}

/// How many items a pattern may have: LuaJIT gives up on patterns that recurse 200 times.
const MAX_ITEMS: usize = 100;
/// Captures that are kept.
pub const MAX_CAPTURES: usize = 8;

/// What a capture holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capture {
    Text(usize, usize),
    /// 1-based, as in Lua.
    Position(usize),
}

/// A match: where it stands, and its captures, at least one: without any in the pattern, the whole match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub start: usize,
    pub end: usize,
    captures: [Capture; MAX_CAPTURES],
    count: usize,
}

impl Found {
    /// The captures.
    #[must_use]
    pub fn captures(&self) -> &[Capture] {
        &self.captures[..self.count]
    }
}

impl Pattern {
    /// Compiles a pattern; `None` where it is malformed or needs LuaJIT.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Pattern> {
        let (anchored, body) = match text.split_first() {
            Some((b'^', body)) => (true, body),
            _ => (false, text),
        };
        let mut pattern = Pattern { items: Vec::new(), anchored, captures: 0, run: None, plain: None };
        pattern.read(body)?;
        if !anchored && let [Item::Many(set, 1)] = pattern.items.as_slice() {
            pattern.run = Some(set.clone());
        }
        if !text.iter().any(|byte| b"^$*+?.([%-".contains(byte)) {
            pattern.plain = Some(text.to_vec());
        }
        (pattern.items.len() <= MAX_ITEMS && pattern.captures <= MAX_CAPTURES).then_some(pattern)
    }

    /// The pattern that matches a text as it is.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Pattern {
        Pattern { items: Vec::new(), anchored: false, captures: 0, run: None, plain: Some(text.to_vec()) }
    }

    fn read(&mut self, mut rest: &[u8]) -> Option<()> {
        let mut open = Vec::new();
        while let Some(first) = rest.first() {
            match first {
                0 => return None,
                b'(' if rest.get(1) == Some(&b')') => {
                    self.items.push(Item::Position(self.captures));
                    self.captures += 1;
                    rest = &rest[2..];
                }
                b'(' => {
                    open.push(self.captures);
                    self.items.push(Item::Open(self.captures));
                    self.captures += 1;
                    rest = &rest[1..];
                }
                b')' => {
                    self.items.push(Item::Close(open.pop()?));
                    rest = &rest[1..];
                }
                b'$' if rest.len() == 1 => {
                    self.items.push(Item::End);
                    rest = &[];
                }
                _ => {
                    let (set, behind) = single(rest)?;
                    rest = self.repeat(Box::new(set), behind);
                }
            }
        }
        open.is_empty().then_some(())
    }

    fn repeat<'p>(&mut self, set: Box<ByteSet>, rest: &'p [u8]) -> &'p [u8] {
        let (item, used) = match rest.first() {
            Some(b'*') => (Item::Many(set, 0), 1),
            Some(b'+') => (Item::Many(set, 1), 1),
            Some(b'-') => (Item::Few(set), 1),
            Some(b'?') => (Item::Optional(set), 1),
            _ => (Item::One(set), 0),
        };
        self.items.push(item);
        &rest[used..]
    }

    /// If it is one class taken as often as it goes (`%w+`, `[^,]+`): the class.
    #[must_use]
    pub fn run(&self) -> Option<&ByteSet> {
        self.run.as_deref()
    }

    /// If no character of it is magic: itself.
    #[must_use]
    pub fn plain(&self) -> Option<&[u8]> {
        self.plain.as_deref()
    }

    /// Whether it begins with `^`, which `gmatch` takes for a plain character.
    #[must_use]
    pub fn is_anchored(&self) -> bool {
        self.anchored
    }

    /// Whether it has captures of its own.
    #[must_use]
    pub fn has_captures(&self) -> bool {
        self.captures > 0
    }

    /// How many values a match gives.
    #[must_use]
    pub fn width(&self) -> usize {
        self.captures.max(1)
    }

    /// The first match that starts at `from` or later.
    #[must_use]
    pub fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        if let Some(plain) = &self.plain {
            let start = from + find_text(&text[from..], plain)?;
            let captures = [Capture::Text(start, start + plain.len()); MAX_CAPTURES];
            return Some(Found { start, end: start + plain.len(), captures, count: 1 });
        }
        for start in from..=text.len() {
            let mut captures = [Capture::Position(0); MAX_CAPTURES];
            if let Some(end) = advance(&self.items, text, start, &mut captures) {
                let count = self.width();
                if self.captures == 0 {
                    captures[0] = Capture::Text(start, end);
                }
                return Some(Found { start, end, captures, count });
            }
            if self.anchored {
                break;
            }
        }
        None
    }
}

fn find_text(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let Some(first) = wanted.first() else { return Some(0) };
    (0..(text.len() + 1).saturating_sub(wanted.len())).find(|at| text[*at] == *first && text[*at..].starts_with(wanted))
}

/// Matches `items` at `at`: where the match ends.
fn advance(mut items: &[Item], text: &[u8], mut at: usize, captures: &mut [Capture; MAX_CAPTURES]) -> Option<usize> {
    let accepts = |set: &ByteSet, at: usize| text.get(at).is_some_and(|byte| set[usize::from(*byte)]);
    while let Some((item, rest)) = items.split_first() {
        items = rest;
        match item {
            Item::One(set) => {
                if !accepts(set, at) {
                    return None;
                }
                at += 1;
            }
            Item::Many(set, least) => {
                let most = text[at..].iter().take_while(|byte| set[usize::from(**byte)]).count();
                return (*least..=most).rev().find_map(|count| advance(rest, text, at + count, captures));
            }
            Item::Few(set) => loop {
                if let Some(end) = advance(rest, text, at, captures) {
                    return Some(end);
                }
                if !accepts(set, at) {
                    return None;
                }
                at += 1;
            },
            Item::Optional(set) => {
                if accepts(set, at)
                    && let Some(end) = advance(rest, text, at + 1, captures)
                {
                    return Some(end);
                }
            }
            Item::Open(which) => captures[*which] = Capture::Text(at, at),
            Item::Close(which) => {
                if let Capture::Text(_, end) = &mut captures[*which] {
                    *end = at;
                }
            }
            Item::Position(which) => captures[*which] = Capture::Position(at + 1),
            Item::End => {
                if at != text.len() {
                    return None;
                }
            }
        }
    }
    Some(at)
}

/// The class that one item begins with (`%w`, `[a-z]`, `.`, `x`), and what follows.
fn single(pattern: &[u8]) -> Option<(ByteSet, &[u8])> {
    let (first, rest) = pattern.split_first()?;
    match first {
        b'%' => {
            let (class, rest) = rest.split_first()?;
            if matches!(class, b'b' | b'f' | b'0'..=b'9' | 0) {
                return None;
            }
            Some((bytes(|byte| in_class(byte, *class)), rest))
        }
        b'[' => set(rest),
        b'.' => Some(([true; 256], rest)),
        _ => Some((bytes(|byte| byte == *first), rest)),
    }
}

/// A set behind its `[`. The first character, even `]`, always belongs to it.
fn set(pattern: &[u8]) -> Option<(ByteSet, &[u8])> {
    let (negated, body) = match pattern.split_first()? {
        (b'^', body) => (true, body),
        _ => (false, pattern),
    };
    let mut end = 0;
    loop {
        let escaped = *body.get(end)? == b'%';
        end += if escaped { 2 } else { 1 };
        match body.get(end)? {
            0 => return None,
            b']' => break,
            _ => {}
        }
    }
    let (inside, rest) = (&body[..end], &body[end + 1..]);
    if inside.contains(&0) {
        return None;
    }
    let accepted = bytes(|byte| in_set(byte, inside));
    Some((bytes(|byte| accepted[usize::from(byte)] != negated), rest))
}

fn in_set(byte: u8, mut inside: &[u8]) -> bool {
    while let Some((first, rest)) = inside.split_first() {
        match (first, rest) {
            (b'%', [class, behind @ ..]) => {
                if in_class(byte, *class) {
                    return true;
                }
                inside = behind;
            }
            (low, [b'-', high, behind @ ..]) => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                inside = behind;
            }
            _ => {
                if byte == *first {
                    return true;
                }
                inside = rest;
            }
        }
    }
    false
}

fn in_class(byte: u8, class: u8) -> bool {
    let found = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'g' => byte.is_ascii_graphic(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => byte == b' ' || (9..=13).contains(&byte),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return byte == class,
    };
    found != class.is_ascii_uppercase()
}

fn bytes(accepts: impl Fn(u8) -> bool) -> ByteSet {
    std::array::from_fn(|byte| accepts(byte as u8))
}
