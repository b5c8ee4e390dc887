//! Units that are put together into blocks, where the graph of blocks must stay without cycles.
//!
//! An edge is *internal* where its two ends may be in one block (rows flow along it within one pass). Any other edge inside
//! a block would make the block wait for itself.

/// Units, edges between them, and the blocks made so far.
#[derive(Debug)]
pub(crate) struct Quotient {
    out: Vec<Vec<Edge>>,
    into: Vec<Vec<Edge>>,
    block: Vec<usize>,
    members: Vec<Vec<usize>>,
    /// The number of the last search that saw a block.
    seen: Vec<u32>,
    search: u32,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    other: usize,
    internal: bool,
}

impl Quotient {
    /// Every unit a block of its own.
    pub(crate) fn new(units: usize) -> Self {
        Self {
            out: vec![Vec::new(); units],
            into: vec![Vec::new(); units],
            block: (0..units).collect(),
            members: (0..units).map(|unit| vec![unit]).collect(),
            seen: vec![0; units],
            search: 0,
        }
    }

    pub(crate) fn edge(&mut self, from: usize, to: usize, internal: bool) {
        self.out[from].push(Edge { other: to, internal });
        self.into[to].push(Edge { other: from, internal });
    }

    pub(crate) fn block(&self, unit: usize) -> usize {
        self.block[unit]
    }

    pub(crate) fn members(&self, block: usize) -> &[usize] {
        &self.members[block]
    }

    /// Blocks that a unit's block reads from, itself left out.
    pub(crate) fn before(&self, block: usize) -> impl Iterator<Item = usize> + '_ {
        let edges = self.members[block].iter().flat_map(|unit| &self.into[*unit]);
        edges.map(|edge| self.block[edge.other]).filter(move |other| *other != block)
    }

    /// Puts the blocks of two units together if no cycle comes of it.
    pub(crate) fn try_join(&mut self, left: usize, right: usize) -> bool {
        let (left, right) = (self.block[left], self.block[right]);
        if left == right {
            return true;
        }
        let legal = self.is_closed(left, right) || self.is_closed(right, left) || !self.returns(left, right);
        if legal {
            self.join(left, right);
        }
        legal
    }

    /// Puts two blocks together without asking, for what was found legal before.
    pub(crate) fn join(&mut self, left: usize, right: usize) {
        let (left, right) = (self.block[left], self.block[right]);
        if left == right {
            return;
        }
        let (keep, drop) = if self.members[left].len() >= self.members[right].len() { (left, right) } else { (right, left) };
        let moved = std::mem::take(&mut self.members[drop]);
        for unit in &moved {
            self.block[*unit] = keep;
        }
        self.members[keep].extend(moved);
    }

    /// Whether a block touches nothing but the other one, by internal edges: the cheap case of a union of ten thousand.
    fn is_closed(&self, block: usize, other: usize) -> bool {
        let mut edges = self.members[block].iter().flat_map(|unit| self.out[*unit].iter().chain(&self.into[*unit]));
        edges.all(|edge| edge.internal && (self.block[edge.other] == other || self.block[edge.other] == block))
    }

    /// Whether a path leaves the two blocks and comes back, or an edge inside them is not internal.
    fn returns(&mut self, left: usize, right: usize) -> bool {
        self.search += 1;
        let mut open = vec![left, right];
        while let Some(block) = open.pop() {
            let inside = block == left || block == right;
            for unit in &self.members[block] {
                for edge in &self.out[*unit] {
                    let target = self.block[edge.other];
                    if target == left || target == right {
                        if !inside || !edge.internal {
                            return true;
                        }
                    } else if self.seen[target] != self.search {
                        self.seen[target] = self.search;
                        open.push(target);
                    }
                }
            }
        }
        false
    }
}
