//! Lists of the sides of a coGroup, brought into the form that groupings of some of the sides would have given them.

use plan::{JoinKind, Regrouped};

use crate::{Error, Result, RowScratch, RowSink, Val, codec};

/// What it is: [`plan::Do::Regroup`].
pub(crate) struct Regroup {
    kind: Option<JoinKind>,
    keys: usize,
    sides: Vec<Regrouped>,
    scratch: RowScratch,
    /// New lists, one after the other.
    lists: Vec<u8>,
    made: Vec<Made>,
    there: Vec<bool>,
    out: Box<dyn RowSink>,
}

/// A value of a row out: of the row in, or a new list by its place in the buffer.
enum Made {
    Old(usize),
    New(usize, usize),
    Nil,
}

impl Regroup {
    pub(crate) fn new(kind: Option<JoinKind>, keys: usize, sides: Vec<Regrouped>, out: Box<dyn RowSink>) -> Regroup {
        Regroup { kind, keys, sides, scratch: RowScratch::default(), lists: Vec::new(), made: Vec::new(), there: Vec::new(), out }
    }

    /// Whether the key stays, which is in some of the sides.
    fn keeps(&self) -> bool {
        match self.kind {
            None | Some(JoinKind::Full) => true,
            Some(JoinKind::Inner) => self.there.iter().all(|there| *there),
            Some(JoinKind::Left) => self.there.first() == Some(&true),
            Some(JoinKind::Right) => self.there.last() == Some(&true),
        }
    }

    /// A list of one item: the list of a groupBy, or the lists of a coGroup together.
    fn nest(&mut self, lists: &[Val<'_>]) {
        let start = self.lists.len();
        codec::write_array_header(&mut self.lists, 1);
        if lists.len() != 1 {
            codec::write_array_header(&mut self.lists, lists.len());
        }
        lists.iter().for_each(|list| codec::write_val(&mut self.lists, *list));
        self.made.push(Made::New(start, self.lists.len()));
    }
}

/// How many lists of the row in are of a side.
fn lists_of(side: Regrouped) -> usize {
    if let Regrouped::CoGroup(sides) = side { sides as usize } else { 1 }
}

fn is_empty(list: &Val<'_>) -> bool {
    // The header of an array of no items is one byte.
    matches!(list, Val::List(encoded) if encoded.len() == 1)
}

impl RowSink for Regroup {
    fn push(&mut self, row: &[Val<'_>]) -> Result<()> {
        if row.len() != self.keys + self.sides.iter().copied().map(lists_of).sum::<usize>() {
            return Err(Error::Corrupt("a row of a coGroup has not one list for each side"));
        }
        self.lists.clear();
        self.made.clear();
        self.there.clear();
        self.made.extend((0..self.keys).map(Made::Old));
        let mut at = self.keys;
        for side in 0..self.sides.len() {
            let side = self.sides[side];
            let places = at..at + lists_of(side);
            at = places.end;
            let is_there = !row[places.clone()].iter().all(is_empty);
            self.there.push(is_there);
            match (self.kind, side, is_there) {
                // What is not there is an empty list in a coGroup, and nil in a join.
                (None, Regrouped::Rows, _) | (None, _, false) => self.made.push(Made::Old(places.start)),
                (None, _, true) => self.nest(&row[places]),
                (Some(_), _, true) => self.made.extend(places.map(Made::Old)),
                (Some(_), _, false) => self.made.extend(places.map(|_| Made::Nil)),
            }
        }
        if !self.keeps() {
            return Ok(());
        }
        let mut regrouped = self.scratch.take();
        regrouped.extend(self.made.iter().map(|made| match made {
            Made::Old(place) => row[*place],
            Made::New(start, end) => Val::List(&self.lists[*start..*end]),
            Made::Nil => Val::Nil,
        }));
        let pushed = self.out.push(&regrouped);
        self.scratch.give(regrouped);
        pushed
    }

    fn finish(&mut self) -> Result<()> {
        self.out.finish()
    }

    fn wants_more(&self) -> bool {
        self.out.wants_more()
    }
}
