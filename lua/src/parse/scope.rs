//! Scopes: which variable a name means, where `break`, `goto` and labels are allowed, and LuaJIT's limits.

use std::collections::BTreeMap;

use super::Result;
use crate::SyntaxError;
use crate::ast::{Expr, LocalId};
use crate::lex::Name;

/// LuaJIT's limits are 200 and 60, of which the engine's check of keys (`check_keys`) takes one each.
const MAX_LOCALS: usize = 199;
const MAX_UPVALUES: usize = 59;

/// All scopes that are open, and what was seen in them.
#[derive(Debug)]
pub(crate) struct Scopes {
    frames: Vec<Frame>,
    variables: Vec<Variable>,
    next: LocalId,
    /// The first function that opens from now on is the one whose parameters are watched.
    watching: bool,
    /// Parameters of the watched function.
    watched: Vec<LocalId>,
    /// Positions of watched parameters that some code names, and how often.
    pub(crate) read: BTreeMap<usize, usize>,
    /// Whether the watched text names the global `debug`, which could reach any local.
    pub(crate) debug: bool,
}

/// A function whose body is being parsed.
#[derive(Debug)]
pub(crate) struct Frame {
    first: usize,
    vararg: bool,
    upvalues: Vec<LocalId>,
    blocks: Vec<OpenBlock>,
    marks: Vec<Mark>,
}

#[derive(Debug, Clone, Copy)]
struct OpenBlock {
    /// Active variables of the function when it began.
    slots: usize,
    first_mark: usize,
    breakable: bool,
}

#[derive(Debug)]
struct Variable {
    /// Empty for the hidden variables of a loop.
    name: Name,
    id: LocalId,
    constant: bool,
}

/// A label, or a jump that has not found its label yet.
#[derive(Debug)]
struct Mark {
    name: Name,
    jump: bool,
    slots: usize,
    line: u32,
}

/// What `continue` is called among the marks; no label can have the name.
const CONTINUE: &str = "<continue>";

impl Frame {
    pub(super) fn new(vararg: bool) -> Frame {
        let main = OpenBlock { slots: 0, first_mark: 0, breakable: false };
        Frame { first: 0, vararg, upvalues: Vec::new(), blocks: vec![main], marks: Vec::new() }
    }
}

impl Scopes {
    pub(super) fn new(main: Frame) -> Scopes {
        Scopes {
            frames: vec![main],
            variables: Vec::new(),
            next: 0,
            watching: false,
            watched: Vec::new(),
            read: BTreeMap::new(),
            debug: false,
        }
    }

    pub(super) fn watch_params(&mut self) {
        self.watching = true;
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the main function is open to the end")
    }

    fn slots(&self) -> usize {
        self.variables.len() - self.frames.last().map_or(0, |frame| frame.first)
    }

    pub(super) fn open_function(&mut self) {
        let first = self.variables.len();
        self.frames.push(Frame { first, ..Frame::new(false) });
    }

    pub(super) fn set_vararg(&mut self) {
        self.frame().vararg = true;
    }

    pub(super) fn is_vararg(&mut self) -> bool {
        self.frame().vararg
    }

    /// The parameters are active; if this is the watched function, its reads are counted from here on.
    pub(super) fn params_done(&mut self, params: &[(Name, LocalId)]) {
        if std::mem::take(&mut self.watching) {
            self.watched = params.iter().map(|(_, id)| *id).collect();
        }
    }

    pub(super) fn close_function(&mut self) -> Result<()> {
        self.check_gotos_end()?;
        if let Some(frame) = self.frames.pop() {
            self.variables.truncate(frame.first);
        }
        Ok(())
    }

    pub(super) fn open_block(&mut self, breakable: bool) {
        let slots = self.slots();
        let frame = self.frame();
        let first_mark = frame.marks.len();
        frame.blocks.push(OpenBlock { slots, first_mark, breakable });
    }

    pub(super) fn close_block(&mut self) {
        let frame = self.frame();
        let Some(block) = frame.blocks.pop() else { return };
        let marks = frame.marks.split_off(block.first_mark);
        let labels: Vec<Name> = marks.iter().filter(|mark| !mark.jump).map(|mark| Name::clone(&mark.name)).collect();
        let pending = marks.into_iter().filter(|mark| mark.jump && !labels.contains(&mark.name));
        let pending = pending.filter(|mark| !(block.breakable && *mark.name == *CONTINUE));
        frame.marks.extend(pending.map(|mark| Mark { slots: block.slots, ..mark }));
        let first = frame.first;
        self.variables.truncate(first + block.slots);
    }

    /// Checks that a variable may be declared, the `more`-th that is not active yet.
    pub(super) fn check_declared(&self, name: &Name, more: usize, line: u32) -> Result<()> {
        if self.slots() + more >= MAX_LOCALS {
            return Err(SyntaxError { line, message: format!("function has more than {MAX_LOCALS} local variables") });
        }
        if self.variables.iter().any(|variable| variable.constant && variable.name == *name) {
            return Err(SyntaxError { line, message: format!("attempt to re-declare const variable '{name}'") });
        }
        Ok(())
    }

    pub(super) fn declare(&mut self, name: Name, constant: bool) -> LocalId {
        let id = self.next;
        self.next += 1;
        self.variables.push(Variable { name, id, constant });
        id
    }

    /// Declares a loop's hidden variables.
    pub(super) fn declare_hidden(&mut self, count: usize, line: u32) -> Result<()> {
        for _ in 0..count {
            let name: Name = "".into();
            self.check_declared(&name, 0, line)?;
            self.declare(name, false);
        }
        Ok(())
    }

    /// The variable that a name means here.
    pub(super) fn look_up(&mut self, name: &Name, line: u32) -> Result<Expr> {
        let Some(at) = self.variables.iter().rposition(|variable| variable.name == *name) else {
            self.debug |= &**name == "debug";
            return Ok(Expr::Global(Name::clone(name)));
        };
        let id = self.variables[at].id;
        for frame in self.frames.iter_mut().rev().take_while(|frame| frame.first > at) {
            if !frame.upvalues.contains(&id) {
                if frame.upvalues.len() >= MAX_UPVALUES {
                    return Err(SyntaxError { line, message: format!("function has more than {MAX_UPVALUES} upvalues") });
                }
                frame.upvalues.push(id);
            }
        }
        if let Some(position) = self.watched.iter().position(|watched| *watched == id) {
            *self.read.entry(position).or_default() += 1;
        }
        Ok(Expr::Local(id))
    }

    pub(super) fn check_assignable(&self, target: &Expr, line: u32) -> Result<()> {
        let Expr::Local(id) = target else { return Ok(()) };
        match self.variables.iter().find(|variable| variable.id == *id && variable.constant) {
            Some(variable) => {
                Err(SyntaxError { line, message: format!("attempt to assign to const variable '{}'", variable.name) })
            }
            None => Ok(()),
        }
    }

    pub(super) fn check_break(&mut self, line: u32) -> Result<()> {
        if self.frame().blocks.iter().any(|block| block.breakable) {
            return Ok(());
        }
        Err(SyntaxError { line, message: "no loop to break".to_owned() })
    }

    pub(super) fn add_continue(&mut self, line: u32) -> Result<()> {
        if !self.frame().blocks.iter().any(|block| block.breakable) {
            return Err(SyntaxError { line, message: "no loop to continue".to_owned() });
        }
        self.add_goto(CONTINUE.into(), line);
        Ok(())
    }

    pub(super) fn add_goto(&mut self, name: Name, line: u32) {
        let slots = self.slots();
        self.frame().marks.push(Mark { name, jump: true, slots, line });
    }

    /// At `until`: what `continue` jumps to, still inside the scope of the loop's locals.
    pub(super) fn land_continues(&mut self) -> Result<()> {
        self.land(CONTINUE.into(), self.slots(), "<continue>")
    }

    /// A label begins.
    pub(super) fn open_label(&mut self, name: &Name, line: u32) -> Result<()> {
        let slots = self.slots();
        let frame = self.frame();
        let first = frame.blocks.last().map_or(0, |block| block.first_mark);
        if frame.marks[first..].iter().any(|mark| !mark.jump && mark.name == *name) {
            return Err(SyntaxError { line, message: format!("duplicate label '{name}'") });
        }
        frame.marks.push(Mark { name: Name::clone(name), jump: false, slots, line });
        Ok(())
    }

    /// The label is complete; `last` if nothing follows it in its block, whose locals it then does not see.
    pub(super) fn land_gotos(&mut self, name: Name, last: bool) -> Result<()> {
        let active = self.slots();
        let frame = self.frame();
        let block = *frame.blocks.last().expect("the main block is open to the end");
        let slots = if last { block.slots } else { active };
        let label = frame.marks[block.first_mark..].iter_mut().find(|mark| !mark.jump && mark.name == name);
        label.expect("opened before").slots = slots;
        let what = format!("<goto {name}>");
        self.land(name, slots, &what)
    }

    fn land(&mut self, name: Name, slots: usize, what: &str) -> Result<()> {
        let frame = self.frame();
        let first = frame.blocks.last().map_or(0, |block| block.first_mark);
        let landing = |mark: &Mark| mark.jump && mark.name == name;
        if let Some(mark) = frame.marks[first..].iter().find(|mark| landing(mark) && mark.slots < slots) {
            return Err(SyntaxError { line: mark.line, message: format!("{what} jumps into the scope of a local") });
        }
        let mut at = 0;
        frame.marks.retain(|mark| {
            at += 1;
            at <= first || !landing(mark)
        });
        Ok(())
    }

    /// At the end of a function (or prelude): no jump may be left without its label.
    pub(super) fn check_gotos_end(&mut self) -> Result<()> {
        let marks = &self.frame().marks;
        let labelled = |name: &Name| marks.iter().any(|mark| !mark.jump && mark.name == *name);
        match marks.iter().find(|mark| mark.jump && !labelled(&mark.name)) {
            Some(mark) => Err(SyntaxError { line: mark.line, message: format!("undefined label '{}'", mark.name) }),
            None => Ok(()),
        }
    }
}
