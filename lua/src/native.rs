//! What a lifted function does: a small program over a row's fields, free of side effects and of errors.
//!
//! It says what Lua would compute for the values that it covers; for all others whoever runs it must ask Lua.

use crate::pattern::Pattern;

/// A function that needs no Lua for most rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifted {
    /// Parameters: field `i` is parameter `i`, nil beyond the row's width.
    pub params: usize,
    /// Variables that the program sets.
    pub slots: usize,
    /// Whether it may make rows on its way.
    pub makes: bool,
    pub body: Vec<Action>,
}

/// A statement. Falling off the end of the program returns nothing.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Set(usize, Code),
    /// Several variables from one call with several results; those without a result get nil.
    SetMany(Vec<usize>, Many),
    /// Conditions with what they guard, then what happens otherwise.
    If(Vec<(Code, Vec<Action>)>, Vec<Action>),
    /// `for ... in gmatch`: the variables (those without a capture are nil), the text, the pattern and the block.
    Each(Vec<usize>, Code, Box<Pattern>, Vec<Action>),
    /// Makes a row.
    Give(Row),
    /// A block again and again, each time making the row that it returns; one that is none, or begins with nil, ends it and the
    /// function.
    Repeat(Vec<Action>),
    Return(Returned),
}

/// A row that a function makes on its way. Those count once it is through, or returns [`Returned::Made`].
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub fields: Vec<Code>,
    /// Further fields: all results of a call.
    pub rest: Option<Many>,
    pub kind: RowKind,
}

/// How a row is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// By `emit`: no fields are no row.
    Emitted,
    /// By `coroutine.yield`: none, or a first one that is nil, end the function. A list on its own gives several fields.
    Yielded,
    /// An item of a list, where nil is none. A list on its own gives several fields.
    Item,
}

/// What a function returns.
#[derive(Debug, Clone, PartialEq)]
pub enum Returned {
    /// Values; for a flatMap only none or a single nil.
    Values(Vec<Code>),
    /// Values, then the results of a call.
    Open(Vec<Code>, Many),
    /// `gmatch`: one item per match of the pattern in the text, of its captures.
    Matches(Code, Box<Pattern>),
    /// A list constructor: its items, with their fields (several where an item is itself a list).
    Items(Vec<Vec<Code>>),
    /// The rows made on the way; nothing but these.
    Made,
}

/// A call with another number of results than one.
#[derive(Debug, Clone, PartialEq)]
pub enum Many {
    /// `match`: the captures, or nil.
    Match(Code, Box<Pattern>),
    /// `find`: start, end and captures, or nil. `true`: the pattern is plain text.
    Find(Code, Box<Pattern>),
    /// `gsub` by plain text: the text and how many there were.
    Replace(Code, Box<Pattern>, Box<[u8]>),
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Code {
    Nil,
    Bool(bool),
    Number(f64),
    Str(Box<[u8]>),
    /// A parameter.
    Field(usize),
    /// A variable.
    Slot(usize),
    Not(Box<Code>),
    Negate(Box<Code>),
    Len(Box<Code>),
    Arithmetic(Arithmetic, Box<Code>, Box<Code>),
    Equal(Box<Code>, Box<Code>),
    Less(Box<Code>, Box<Code>),
    LessOrEqual(Box<Code>, Box<Code>),
    And(Box<Code>, Box<Code>),
    Or(Box<Code>, Box<Code>),
    /// `a ?? b`
    Coalesce(Box<Code>, Box<Code>),
    /// `a ? b : c`
    Pick(Box<[Code; 3]>),
    Concat(Vec<Code>),
    Call(Builtin, Vec<Code>),
    /// The first result of a call.
    First(Box<Many>),
    /// The next match of a pattern in the text that a variable has, or nil; where to go on stands in another variable.
    Next(usize, usize, Box<Pattern>),
}

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

/// A function of Lua's library that gives one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    Lower,
    Upper,
    Reverse,
    Length,
    Sub,
    Byte,
    Rep,
    ToString,
    ToNumber,
    Type,
    Floor,
    Ceil,
    Abs,
    Sqrt,
    Min,
    Max,
}
