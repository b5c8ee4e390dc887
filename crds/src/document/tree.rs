//! YAML text to a tree of marked nodes. Aliases are replaced by what they stand for; what only some readers know is refused.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::json;
use super::problem::{Place, Problem};

/// Deeper nesting than any flow needs, shallow enough to walk by recursion.
const MAX_DEPTH: usize = 64;
/// More nodes than any flow needs, aliases expanded.
const MAX_NODES: usize = 1_000_000;
/// No unquoted text may begin with one of these; not all readers heed it everywhere.
const SIGNS: &str = ",[]{}#&*!|>'\"%@`";

/// Line and column in characters, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Quoted,
    /// A `|` or `>` block, its text from the next line on, indented.
    Block {
        indent: usize,
    },
    /// A list or mapping.
    Nested,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) content: Content,
    /// Whether it is plain text behind which a comment begins.
    pub(super) cut: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar { text: String, style: Style },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Whether the key is written without quotes.
    pub(super) plain: bool,
    pub(super) position: Position,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn style(&self) -> Style {
        match &self.content {
            Content::Scalar { style, .. } => *style,
            Content::List(_) | Content::Map(_) => Style::Nested,
        }
    }

    fn count(&self) -> usize {
        match &self.content {
            Content::Scalar { .. } => 1,
            Content::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Content::Map(entries) => 1 + entries.iter().map(|entry| entry.value.count()).sum::<usize>(),
        }
    }

    fn is_nothing(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, style: Style::Plain } if text.is_empty())
    }
}

/// The outcome: a tree as far as there is one, and what is wrong with the YAML itself.
pub(super) struct Parsed {
    pub(super) root: Option<Node>,
    pub(super) problems: Vec<Problem>,
}

/// Parses a file that must hold exactly one document.
pub(super) fn parse(text: &str, file: &str) -> Parsed {
    let text = &*json::whole_letters(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut builder = Builder {
        file,
        text,
        reached: Reached { line: 1, column: 1, offset: 0 },
        problems: Vec::new(),
        open: Vec::new(),
        anchors: BTreeMap::new(),
        nodes: 0,
        roots: Vec::new(),
    };
    builder.check_text();
    let root = match builder.read_events() {
        Ok(()) => builder.only_root(),
        Err(problem) => {
            builder.problems.push(*problem);
            None
        }
    };
    Parsed { root, problems: builder.problems }
}

struct Builder<'a> {
    file: &'a str,
    text: &'a str,
    reached: Reached,
    problems: Vec<Problem>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
    roots: Vec<Node>,
}

/// A place and its offset in bytes. Values come in the order of the text, so the next place is looked for from the last one.
struct Reached {
    line: usize,
    column: usize,
    offset: usize,
}

impl Reached {
    /// The text from a place on; empty where there is no such place.
    fn text_at<'a>(&mut self, text: &'a str, position: Position) -> &'a str {
        if (position.line, position.column) < (self.line, self.column) {
            *self = Reached { line: 1, column: 1, offset: 0 };
        }
        while self.line < position.line {
            let Some(length) = text[self.offset..].find('\n') else { return "" };
            *self = Reached { line: self.line + 1, column: 1, offset: self.offset + length + 1 };
        }
        let skipped = position.column - self.column;
        self.offset += text[self.offset..].chars().take(skipped).map(char::len_utf8).sum::<usize>();
        self.column = position.column;
        &text[self.offset..]
    }
}

/// A list or mapping whose end has not come yet.
struct Open {
    position: Position,
    anchor: usize,
    content: Content,
    /// In a mapping: the key whose value comes next; `None` inside for a key that was refused.
    key: Option<(Option<(String, bool)>, Position)>,
}

type Step = Result<(), Box<Problem>>;

impl Builder<'_> {
    fn read_events(&mut self) -> Step {
        let mut parser = Parser::new_from_str(self.text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.not_yaml(&error))?;
            self.event(event, span)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        let position = position(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let (position, style) = self.style(&text, style, tag.as_deref(), position);
                let cut = style == Style::Plain && self.is_cut(&text, position);
                self.add(Node { position, content: Content::Scalar { text: text.into_owned(), style }, cut }, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "seq", position);
                self.begin(position, anchor, Content::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "map", position);
                self.begin(position, anchor, Content::Map(Vec::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                self.add(Node { position: open.position, content: open.content, cut: false }, open.anchor, 1)
            }
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => {
                    let weight = node.count();
                    self.add(Node { position, ..node }, 0, weight)
                }
                None => Err(Box::new(self.problem(position, "an alias stands inside what it stands for"))),
            },
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, position: Position, anchor: usize, content: Content) -> Step {
        if self.open.len() >= MAX_DEPTH {
            return Err(Box::new(self.problem(position, format!("values are nested deeper than {MAX_DEPTH} levels"))));
        }
        self.open.push(Open { position, anchor, content, key: None });
        Ok(())
    }

    /// A node is complete: it becomes an item, a key, a value or a document. `weight`: values in it that were not counted yet.
    fn add(&mut self, node: Node, anchor: usize, weight: usize) -> Step {
        self.nodes += weight;
        if self.nodes > MAX_NODES {
            return Err(Box::new(
                self.problem(node.position, format!("the file has more than {MAX_NODES} values, aliases counted")),
            ));
        }
        if anchor != 0 {
            self.nodes += node.count();
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map(_) if open.key.is_none() => {
                let key = self.key(&node);
                if let Some(open) = self.open.last_mut() {
                    open.key = Some((key, node.position));
                }
            }
            Content::Map(entries) => {
                if let Some((Some((key, plain)), position)) = open.key.take() {
                    entries.push(Entry { key, plain, position, value: node });
                }
            }
            Content::Scalar { .. } => {}
        }
        Ok(())
    }

    /// The text of a key and whether it is plain; `None`, and a problem, where it is none or given twice.
    fn key(&mut self, node: &Node) -> Option<(String, bool)> {
        let Content::Scalar { text, style } = &node.content else {
            self.report(node.position, "a key must be text", "write \"key: value\"");
            return None;
        };
        if *style == Style::Plain && text == "<<" {
            let help = "write the fields out, or use an alias for the whole mapping";
            self.report(node.position, "merge keys (<<) are known to some YAML readers only", help);
            return None;
        }
        let open = self.open.last()?;
        let Content::Map(entries) = &open.content else { return None };
        if let Some(first) = entries.iter().find(|entry| entry.key == *text) {
            let line = first.position.line;
            self.report(node.position, format!("field {text:?} is given twice"), format!("it was given on line {line} before"));
            return None;
        }
        Some((text.clone(), *style == Style::Plain))
    }

    fn style(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, position: Position) -> (Position, Style) {
        let forced = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if !forced {
            self.refuse_tag(tag, "", position);
        }
        if style == ScalarStyle::Plain
            && let Some(sign) = text.chars().next().filter(|first| SIGNS.contains(*first))
        {
            let message = format!("YAML readers do not agree on text that begins with {sign:?}");
            self.report(position, message, format!("put it in quotes: {text:?}"));
        }
        match style {
            ScalarStyle::Plain if forced => (position, Style::Quoted),
            ScalarStyle::Plain => (position, Style::Plain),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (position, Style::Quoted),
            ScalarStyle::Literal | ScalarStyle::Folded => {
                (self.block_start(text, position), Style::Block { indent: position.column.saturating_sub(1) })
            }
        }
    }

    /// The place of a block's `|` or `>`: on the line before its text, whose first line that is not blank the parser marks.
    fn block_start(&self, text: &str, marked: Position) -> Position {
        let blank = text.bytes().take_while(|byte| *byte == b'\n').count();
        let line = marked.line.saturating_sub(blank + 1).max(1);
        let written = self.text.lines().nth(line - 1).unwrap_or_default();
        let written = written.split(" #").next().unwrap_or_default();
        let column = written.rfind(['|', '>']).map_or(0, |at| written[..at].chars().count());
        Position { line, column: column + 1 }
    }

    /// Whether a comment begins behind a plain text: the writer may have meant it as a part of the text.
    fn is_cut(&mut self, text: &str, position: Position) -> bool {
        let mut wanted = text.chars().filter(|letter| !letter.is_whitespace()).peekable();
        for line in self.reached.text_at(self.text, position).lines() {
            let mut letters = line.chars();
            while wanted.peek().is_some() {
                match letters.find(|letter| !letter.is_whitespace()) {
                    Some(letter) if wanted.next() == Some(letter) => {}
                    Some(_) => return false,
                    None => break,
                }
            }
            if wanted.peek().is_none() {
                let behind = letters.as_str();
                return behind.starts_with([' ', '\t']) && behind.trim_start().starts_with('#');
            }
        }
        false
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, allowed: &str, position: Position) {
        let Some(tag) = tag else { return };
        if !tag.is_yaml_core_schema() || tag.suffix != allowed {
            self.report(position, format!("the YAML tag {} is not understood", shown(tag)), "leave it out");
        }
    }

    /// What divides YAML readers whatever stands around it.
    fn check_text(&mut self) {
        for (index, line) in self.text.lines().enumerate() {
            let found = line.chars().position(|letter| matches!(letter, '\u{85}' | '\u{2028}' | '\u{2029}'));
            if let Some(column) = found {
                let letter = line.chars().nth(column).unwrap_or_default();
                let escape = format!("\\u{:04X}", u32::from(letter));
                let position = Position { line: index + 1, column: column + 1 };
                let message = format!("the character U+{} ends a line for some YAML readers", &escape[2..]);
                self.report(position, message, format!("write \"{escape}\" in double quotes"));
            }
        }
        let begins = self.text.lines().take_while(|line| *line != "---" && (line.is_empty() || line.starts_with(['#', '%'])));
        let directive = begins.enumerate().find(|(_, line)| line.starts_with('%')).map(|(index, _)| index);
        if let Some(index) = directive {
            let position = Position { line: index + 1, column: 1 };
            self.report(position, "YAML directives divide readers", "leave the line out");
        }
    }

    /// The one document of the file; empty ones do not count, as for kubectl.
    fn only_root(&mut self) -> Option<Node> {
        let mut roots = std::mem::take(&mut self.roots).into_iter().filter(|root| !root.is_nothing());
        let Some(root) = roots.next() else {
            self.problems.push(Problem::of_file(self.file, "the file is empty: it holds no flow"));
            return None;
        };
        if let Some(second) = roots.next() {
            let help = "put each flow into a file of its own";
            self.report(second.position, "a flow file holds one document, and a second one begins here", help);
        }
        Some(root)
    }

    fn not_yaml(&self, error: &ScanError) -> Box<Problem> {
        let position = position(*error.marker());
        let line = self.text.lines().nth(position.line.saturating_sub(1)).unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        let help = if indent.contains('\t') {
            Some("YAML is indented with spaces, not with tabs".to_owned())
        } else if let Some(text) = special(line, position.column) {
            Some(format!("a text that begins with {:?} needs quotes: {text:?}", &text[..1]))
        } else if line.contains("lua:") || line.contains("command:") {
            Some("put the text in single quotes, or on lines of its own after \"|\"".to_owned())
        } else {
            None
        };
        Box::new(self.problem(position, format!("this is not YAML: {}", error.info())).help(help))
    }

    fn problem(&self, position: Position, message: impl Into<String>) -> Problem {
        Problem::new(Place::new(self.file, position.line, position.column), message)
    }

    fn report(&mut self, position: Position, message: impl Into<String>, help: impl Into<String>) {
        let problem = self.problem(position, message).help(help.into());
        self.problems.push(problem);
    }
}

/// The unquoted text at a place, where it begins with a character that means something else in YAML.
fn special(line: &str, column: usize) -> Option<&str> {
    let at = line.char_indices().nth(column.saturating_sub(1)).map(|(at, _)| at)?;
    let text = &line[at..];
    let end = text.find([',', ']', '}', '"', '\'']).or_else(|| text.find(" #")).unwrap_or(text.len());
    text.starts_with(['*', '&', '%', '@', '`']).then(|| text[..end].trim_end())
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// A tag as it is written.
fn shown(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() { format!("!!{}", tag.suffix) } else { format!("{}{}", tag.handle, tag.suffix) }
}
