//! Rows with one key brought together, leg by leg: chains in a hash table, and sorted runs of keyed rows where those grow too large.

use super::Allowance;
use super::merge::{self, Range};
use super::sorted_run::{RowOrder, RunWriter, SortedRun};
use super::table::{Entry, KeyTable, Pick, Probe};
use crate::{Error, Result, RowScratch, Val, codec};

/// Takes the rows of one key, leg by leg or mixed, then the key; then those of the next.
pub(super) trait Collector {
    /// Takes a row: its values, encoded.
    fn add(&mut self, leg: usize, values: &[u8]) -> Result<()>;

    /// The key has no more rows. False if no more keys are wanted.
    fn end(&mut self, key: &[Val<'_>]) -> Result<bool>;
}

/// A group: its number, and where the chains of its legs begin, of the first [`INLINE`] legs here, of the others elsewhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) number: u32,
    heads: [usize; INLINE],
}

/// How many legs have their chains' heads in the table, where looking one up costs nothing more.
const INLINE: usize = 2;

const NONE: usize = usize::MAX;

/// Precedes a row in the arena: the row of its chain that came before it, and its length.
const HEADER: usize = 16;

/// Rows by key and leg, in memory.
#[derive(Debug)]
pub(super) struct Chains {
    pub(super) table: KeyTable<Links>,
    /// The heads of further legs.
    heads: Vec<usize>,
    arena: Vec<u8>,
    legs: usize,
    pub(super) probe: Probe,
    /// Whether all keys were plain so far.
    pub(super) all_plain: bool,
}

impl Chains {
    pub(super) fn new(legs: usize) -> Chains {
        let table = KeyTable::new(Pick::Fields);
        Chains { table, heads: Vec::new(), arena: Vec::new(), legs, probe: Probe::default(), all_plain: true }
    }

    /// Adds a row to the group of the key in `probe`. `fields` appends the key as an encoded row, `values` the row.
    pub(super) fn push(&mut self, leg: usize, fields: impl FnOnce(&mut Vec<u8>), values: impl FnOnce(&mut Vec<u8>)) {
        let (heads, others) = (&mut self.heads, self.legs.saturating_sub(INLINE));
        self.all_plain &= self.probe.plain;
        let number = self.table.len();
        let (links, _) = self.table.upsert(&self.probe, fields, || {
            heads.resize(heads.len() + others, NONE);
            let number = u32::try_from(number).expect("a table has fewer than 2^32 groups in memory");
            Links { number, heads: [NONE; INLINE] }
        });
        let number = links.number as usize;
        let head = if leg < INLINE { &mut links.heads[leg] } else { &mut self.heads[number * others + leg - INLINE] };
        let at = self.arena.len();
        self.arena.extend_from_slice(&(*head as u64).to_le_bytes());
        self.arena.extend_from_slice(&[0; 8]);
        *head = at;
        values(&mut self.arena);
        let len = self.arena.len() - at - HEADER;
        self.arena[at + 8..at + HEADER].copy_from_slice(&(len as u64).to_le_bytes());
    }

    fn head(&self, links: &Links, leg: usize) -> usize {
        match leg.checked_sub(INLINE) {
            None => links.heads[leg],
            Some(other) => self.heads[links.number as usize * (self.legs - INLINE) + other],
        }
    }

    /// The row at a place of the arena, encoded, and the place of the one before it in its chain.
    #[inline]
    fn row_at(&self, at: usize) -> (&[u8], usize) {
        let number = |at: usize| u64::from_le_bytes(self.arena[at..at + 8].try_into().expect("eight bytes")) as usize;
        let len = number(at + 8);
        (&self.arena[at + HEADER..at + HEADER + len], number(at))
    }

    /// The rows of a leg of a group, encoded, the last one first.
    pub(super) fn rows_backwards(&self, links: &Links, leg: usize) -> impl Iterator<Item = &[u8]> {
        let mut next = self.head(links, leg);
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let (row, before) = self.row_at(next);
            next = before;
            Some(row)
        })
    }

    /// Finds the rows of some chains, the last one of each first. Their next rows are fetched side by side: one chain alone would
    /// wait for the memory at each of its rows.
    fn walk<'c>(&'c self, chains: &mut [Walk<'c>], open: &mut Vec<usize>) {
        open.clear();
        open.extend((0..chains.len()).filter(|at| chains[*at].next != NONE));
        while !open.is_empty() {
            open.retain(|at| {
                let chain = &mut chains[*at];
                let (row, before) = self.row_at(chain.next);
                chain.rows.push(row);
                chain.next = before;
                before != NONE
            });
        }
    }

    /// The rows of a leg of a group, encoded, in the order in which they came.
    pub(super) fn rows(&self, links: &Links, leg: usize) -> impl Iterator<Item = &[u8]> {
        let mut rows: Vec<&[u8]> = self.rows_backwards(links, leg).collect();
        rows.reverse();
        rows.into_iter()
    }

    pub(super) fn has(&self, links: &Links, leg: usize) -> bool {
        self.head(links, leg) != NONE
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.heads.len() * size_of::<usize>() + self.arena.len()
    }

    /// The number of groups.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Forgets all rows; keeps the allocations.
    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.heads.clear();
        self.arena.clear();
    }

    fn collect(&self, collector: &mut dyn Collector) -> Result<()> {
        let (mut keys, mut open) = (RowScratch::default(), Vec::new());
        let mut chains: Vec<Walk<'_>> = (0..AT_ONCE * self.legs).map(|_| Walk::default()).collect();
        let mut entries = self.table.iter();
        loop {
            let some: Vec<&Entry<Links>> = entries.by_ref().take(AT_ONCE).collect();
            if some.is_empty() {
                return Ok(());
            }
            let heads = some.iter().flat_map(|entry| (0..self.legs).map(|leg| self.head(&entry.value, leg)));
            for (chain, head) in chains.iter_mut().zip(heads) {
                chain.next = head;
                chain.rows.clear();
            }
            self.walk(&mut chains[..some.len() * self.legs], &mut open);
            for (entry, legs) in some.iter().zip(chains.chunks(self.legs)) {
                for (leg, chain) in legs.iter().enumerate() {
                    chain.rows.iter().rev().try_for_each(|row| collector.add(leg, row))?;
                }
                if !self.table.with_key(entry, &mut keys, |key| collector.end(key))? {
                    return Ok(());
                }
            }
        }
    }
}

/// How many groups' chains are walked at once.
const AT_ONCE: usize = 8;

/// A chain that is being walked.
#[derive(Default)]
struct Walk<'c> {
    next: usize,
    /// The rows found, the last one of the chain first.
    rows: Vec<&'c [u8]>,
}

/// How a key stands in a row of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyShape {
    /// So many leading fields.
    Fields(usize),
    /// One leading list: keys of any width.
    List,
}

impl KeyShape {
    fn lead(self) -> usize {
        match self {
            KeyShape::Fields(fields) => fields,
            KeyShape::List => 1,
        }
    }
}

/// Rows by key and leg, of any size.
#[derive(Debug)]
pub(super) struct Gather {
    pub(super) chains: Chains,
    pub(super) allowance: Allowance,
    shape: KeyShape,
    order: RowOrder,
    pub(super) runs: Vec<SortedRun>,
}

impl Gather {
    pub(super) fn new(legs: usize, shape: KeyShape, allowance: Allowance) -> Gather {
        Gather { chains: Chains::new(legs), allowance, shape, order: RowOrder::by_leading(shape.lead()), runs: Vec::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.chains.bytes() >= self.allowance.budget
    }

    /// Moves all rows into a run: key, leg, values.
    pub(super) fn spill(&mut self) -> Result<()> {
        if self.chains.len() == 0 {
            return Ok(());
        }
        let mut writer = RunWriter::new(&self.order, &self.allowance);
        let mut keys = RowScratch::default();
        for entry in self.chains.table.sorted() {
            self.chains.table.with_key(entry, &mut keys, |key| self.spill_group(entry, key, &mut writer))?;
        }
        self.runs.push(writer.finish()?);
        self.chains.clear();
        Ok(())
    }

    fn spill_group(&self, entry: &Entry<Links>, key: &[Val<'_>], writer: &mut RunWriter<'_>) -> Result<()> {
        let mut list = Vec::new();
        let mut row = Vec::new();
        match self.shape {
            KeyShape::Fields(_) => row.extend_from_slice(key),
            KeyShape::List => {
                codec::write_row(&mut list, key);
                row.push(Val::List(&list));
            }
        }
        let lead = row.len();
        for leg in 0..self.chains.legs {
            for values in self.chains.rows(&entry.value, leg) {
                row.truncate(lead);
                row.push(Val::Int(leg as i64));
                codec::read_row(&mut &values[..], &mut row)?;
                writer.push(&row)?;
            }
        }
        Ok(())
    }

    /// Hands all rows to the collector, key by key.
    pub(super) fn finish(mut self, collector: &mut dyn Collector) -> Result<()> {
        if self.runs.is_empty() {
            return self.chains.collect(collector);
        }
        self.spill()?;
        self.chains = Chains::new(self.chains.legs);
        let runs: Vec<&SortedRun> = self.runs.iter().collect();
        let mut current = CurrentKey::default();
        let mut more = true;
        merge::merge(&runs, &self.order, Range::default(), &self.allowance, &mut |key, row| {
            if current.rows > 0 && key != current.encoded.as_slice() {
                more = current.end(collector)?;
            }
            if more {
                let (lead, values) = row.split_at_checked(self.shape.lead()).ok_or(DAMAGED)?;
                current.see(key, self.shape, lead)?;
                current.hand_on(values, collector)?;
            }
            Ok(more)
        })?;
        if more && current.rows > 0 {
            current.end(collector)?;
        }
        Ok(())
    }
}

const DAMAGED: Error = Error::Corrupt("a spilled row is no keyed row");

/// The key whose rows come from the merge now.
#[derive(Default)]
struct CurrentKey {
    encoded: Vec<u8>,
    /// How it is shown: an encoded row.
    shown: Vec<u8>,
    rows: usize,
    scratch: Vec<u8>,
}

impl CurrentKey {
    fn see(&mut self, key: &[u8], shape: KeyShape, lead: &[Val<'_>]) -> Result<()> {
        self.scratch.clear();
        match (shape, lead) {
            (KeyShape::Fields(_), fields) => codec::write_row(&mut self.scratch, fields),
            (KeyShape::List, [Val::List(fields)]) => self.scratch.extend_from_slice(fields),
            (KeyShape::List, _) => return Err(DAMAGED),
        }
        if self.rows == 0 {
            self.encoded.clear();
            self.encoded.extend_from_slice(key);
            std::mem::swap(&mut self.shown, &mut self.scratch);
        } else if let Some(smaller) = Pick::Fields.smaller(&self.shown, &self.scratch) {
            self.shown = smaller;
        }
        self.rows += 1;
        Ok(())
    }

    fn hand_on(&mut self, tagged: &[Val<'_>], collector: &mut dyn Collector) -> Result<()> {
        let Some((Val::Int(leg), values)) = tagged.split_first() else { return Err(DAMAGED) };
        self.scratch.clear();
        codec::write_row(&mut self.scratch, values);
        collector.add(*leg as usize, &self.scratch)
    }

    fn end(&mut self, collector: &mut dyn Collector) -> Result<bool> {
        self.rows = 0;
        let mut key = Vec::new();
        codec::read_row(&mut &self.shown[..], &mut key)?;
        collector.end(&key)
    }
}
