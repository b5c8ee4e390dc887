//! The shuffle of one group: each map task deals rows into buckets, each reduce task takes some buckets, in task order.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use plan::NodeId;
use plan::task::PieceName;

use crate::batch::BATCH_BYTES;
use crate::lock::lock;
use crate::op::limit::partition;
use crate::outbox::Outbox;
use crate::spill::{SpillFile, SpilledBatch};
use crate::{Batch, Budget, MemoryPool, Result, Val};

pub use plan::task::{Leg, MapTask};

/// What all map tasks of a stage wrote for one group.
#[derive(Debug)]
pub struct Shuffle {
    buckets: usize,
    /// Per bucket, of the tasks that had rows for it: with thousands of both, most have none.
    outputs: Mutex<Vec<BTreeMap<MapTask, Vec<Kept>>>>,
    /// Rows and bytes per bucket, once written.
    sizes: Mutex<Vec<BucketSize>>,
    /// What came of each leg of a join.
    legs: Mutex<Vec<Leg>>,
    /// Whether one writer had rows of several legs.
    mixed: AtomicBool,
    /// What has been taken out before any reduce task began.
    taken: Mutex<BucketSize>,
    store: Store,
}

/// Where full batches go.
#[derive(Debug)]
enum Store {
    /// They wait in this process for its reduce tasks.
    Here { memory: Arc<MemoryPool>, dir: PathBuf, step: Option<String> },
    /// They leave: pieces of the running task's output. `marks`: some of their keys are told of, so that buckets can be split.
    Away { group: NodeId, outbox: Arc<Outbox>, marks: bool },
}

/// How much a bucket holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct BucketSize {
    pub rows: u64,
    pub bytes: u64,
    /// Of `bytes`, those that went to disk.
    pub spilled: u64,
}

impl BucketSize {
    fn add(&mut self, other: BucketSize) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.spilled += other.spilled;
    }
}

/// A batch of a bucket: in memory with its share of the pool, or in its task's file.
#[derive(Debug)]
pub enum Kept {
    Memory { batch: Batch, held: Budget },
    Disk { at: SpilledBatch, file: Arc<SpillFile> },
}

impl Kept {
    /// The batch, which stays where it is.
    ///
    /// # Errors
    /// As for `load`.
    pub fn read(&self) -> Result<Cow<'_, Batch>> {
        match self {
            Kept::Memory { batch, .. } => Ok(Cow::Borrowed(batch)),
            Kept::Disk { at, file } => file.read(*at).map(Cow::Owned),
        }
    }

    /// The batch; what it held of the pool is given back.
    ///
    /// # Errors
    /// [`crate::Error::Spill`] and [`crate::Error::Corrupt`] for a bad file.
    pub fn load(self) -> Result<Batch> {
        match self {
            Kept::Memory { batch, held } => {
                drop(held);
                Ok(batch)
            }
            Kept::Disk { at, file } => file.read(at),
        }
    }
}

impl Shuffle {
    /// An empty shuffle of `buckets` buckets.
    #[must_use]
    pub fn new(buckets: usize, memory: &Arc<MemoryPool>, dir: &Path) -> Shuffle {
        Shuffle {
            buckets,
            outputs: Mutex::new((0..buckets).map(|_| BTreeMap::new()).collect()),
            sizes: Mutex::new(vec![BucketSize::default(); buckets]),
            legs: Mutex::default(),
            mixed: AtomicBool::new(false),
            taken: Mutex::default(),
            store: Store::Here { memory: Arc::clone(memory), dir: dir.to_path_buf(), step: None },
        }
    }

    /// The same, whose errors name a step.
    #[must_use]
    pub(crate) fn of_step(mut self, of: &str) -> Shuffle {
        if let Store::Here { step, .. } = &mut self.store {
            *step = Some(of.to_owned());
        }
        self
    }

    /// A shuffle whose batches leave this process.
    #[must_use]
    pub(crate) fn away(buckets: usize, group: NodeId, outbox: &Arc<Outbox>, marks: bool) -> Shuffle {
        Shuffle {
            buckets,
            outputs: Mutex::new((0..buckets).map(|_| BTreeMap::new()).collect()),
            sizes: Mutex::new(vec![BucketSize::default(); buckets]),
            legs: Mutex::default(),
            mixed: AtomicBool::new(false),
            taken: Mutex::default(),
            store: Store::Away { group, outbox: Arc::clone(outbox), marks },
        }
    }

    /// What came of each leg so far.
    pub(crate) fn legs(&self) -> Vec<Leg> {
        lock(&self.legs).clone()
    }

    /// The number of buckets.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// How much each bucket holds.
    #[must_use]
    pub fn sizes(&self) -> Vec<BucketSize> {
        lock(&self.sizes).clone()
    }

    /// Takes all batches of a bucket, in the order of the map tasks. A bucket can be taken once.
    #[must_use]
    pub fn take(&self, bucket: usize) -> Vec<Kept> {
        std::mem::take(&mut lock(&self.outputs)[bucket]).into_values().flatten().collect()
    }

    /// Hands every batch of all buckets to `see`, in the order of the buckets and tasks; they stay.
    ///
    /// # Errors
    /// What `see` returns, and bad spill files.
    pub fn look(&self, mut see: impl FnMut(&Batch) -> Result<()>) -> Result<()> {
        let outputs = lock(&self.outputs);
        outputs.iter().flat_map(BTreeMap::values).flatten().try_for_each(|kept| see(kept.read()?.as_ref()))
    }

    /// Hands some of the batches of a bucket to `see`, spread over all of them; they stay.
    ///
    /// # Errors
    /// As for `look`.
    pub(crate) fn look_at_some(&self, bucket: usize, mut see: impl FnMut(&Batch) -> Result<()>) -> Result<()> {
        const SOME: usize = 128;
        let outputs = lock(&self.outputs);
        let kept: Vec<&Kept> = outputs[bucket].values().flatten().collect();
        let step = kept.len().div_ceil(SOME).max(1);
        kept.into_iter().step_by(step).try_for_each(|kept| see(kept.read()?.as_ref()))
    }

    /// Drops all that was written so far. It counts as shuffled, but no bucket has it.
    pub fn empty(&self) {
        lock(&self.outputs).iter_mut().for_each(BTreeMap::clear);
        let mut taken = lock(&self.taken);
        lock(&self.sizes).iter_mut().for_each(|size| taken.add(std::mem::take(size)));
    }

    /// How much was shuffled in all.
    #[must_use]
    pub fn total(&self) -> BucketSize {
        let mut total = *lock(&self.taken);
        lock(&self.sizes).iter().for_each(|size| total.add(*size));
        total
    }

    /// Notes what a task saw of a join's legs, since it last said so.
    pub fn note_legs(&self, seen: &[Leg]) {
        Leg::add_all(&mut lock(&self.legs), seen);
    }

    /// Notes that a writer has rows of several legs.
    pub(crate) fn note_mixed(&self) {
        self.mixed.store(true, Ordering::Relaxed);
    }

    /// Whether a batch may have rows of several legs; after all map tasks.
    pub(crate) fn is_mixed(&self) -> bool {
        self.mixed.load(Ordering::Relaxed)
    }

    /// The widest row of a leg in the whole run, in value fields.
    #[must_use]
    pub fn width(&self, leg: usize) -> usize {
        lock(&self.legs).get(leg).map_or(0, |leg| leg.width as usize)
    }
}

/// The buckets that one map task fills. What it wrote is visible only after `finish`.
#[derive(Debug)]
pub struct BucketWriter {
    shuffle: Arc<Shuffle>,
    task: MapTask,
    open: Vec<Batch>,
    kept: Vec<Vec<Kept>>,
    sizes: Vec<BucketSize>,
    file: Option<Arc<SpillFile>>,
    batch_bytes: usize,
    /// Per bucket, of the key of its open batch's first row; empty where nobody asks.
    marks: Vec<u32>,
}

/// Open batches of one writer together hold about this much, however many buckets there are.
const OPEN_BYTES: usize = 2 << 20;

/// Smaller batches would be all overhead.
const LEAST_BATCH: usize = 1 << 10;

impl BucketWriter {
    /// A writer for a task.
    #[must_use]
    pub fn new(shuffle: Arc<Shuffle>, task: MapTask) -> BucketWriter {
        let buckets = shuffle.buckets;
        BucketWriter {
            task,
            open: vec![Batch::default(); buckets],
            kept: (0..buckets).map(|_| Vec::new()).collect(),
            sizes: vec![BucketSize::default(); buckets],
            file: None,
            batch_bytes: (OPEN_BYTES / buckets.max(1)).clamp(LEAST_BATCH, BATCH_BYTES),
            marks: if matches!(shuffle.store, Store::Away { marks: true, .. }) { vec![0; buckets] } else { Vec::new() },
            shuffle,
        }
    }

    /// One of so many writers of a task, which have no more room than one alone.
    #[must_use]
    pub(crate) fn beside(mut self, writers: usize) -> BucketWriter {
        self.batch_bytes = (self.batch_bytes / writers.max(1)).max(LEAST_BATCH);
        self
    }

    /// The bucket of a key's hash.
    #[must_use]
    pub fn bucket(&self, hash: u64) -> usize {
        partition(hash, self.open.len())
    }

    /// The number of buckets.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.open.len()
    }

    /// Adds a row to a bucket.
    ///
    /// # Errors
    /// [`crate::Error::Spill`] if it had to spill and could not.
    pub fn push(&mut self, bucket: usize, row: &[Val<'_>]) -> Result<()> {
        self.open[bucket].push(row);
        if self.open[bucket].bytes.len() >= self.batch_bytes { self.keep(bucket) } else { Ok(()) }
    }

    /// Notes the hash of the key of the row that is pushed next.
    #[inline]
    pub(crate) fn note(&mut self, bucket: usize, hash: u64) {
        if let Some(mark) = self.marks.get_mut(bucket)
            && self.open[bucket].rows == 0
        {
            *mark = plan::schedule::mark(hash);
        }
    }

    /// [`BucketWriter::push`]; the row's encoded bytes.
    ///
    /// # Errors
    /// As for `push`.
    pub fn push_measured(&mut self, bucket: usize, row: &[Val<'_>]) -> Result<u64> {
        let before = self.open[bucket].bytes.len();
        self.open[bucket].push(row);
        let after = self.open[bucket].bytes.len();
        if after >= self.batch_bytes {
            self.keep(bucket)?;
        }
        Ok((after - before) as u64)
    }

    fn keep(&mut self, bucket: usize) -> Result<()> {
        let mut batch = std::mem::take(&mut self.open[bucket]);
        let size = &mut self.sizes[bucket];
        size.rows += batch.rows as u64;
        size.bytes += batch.bytes.len() as u64;
        let (memory, dir, step) = match &self.shuffle.store {
            Store::Here { memory, dir, step } => (memory, dir, step.as_deref()),
            Store::Away { group, outbox, .. } => {
                let name = PieceName::Bucket { group: *group, bucket: bucket as u32, from: self.task };
                return outbox.put_marked(name, batch, self.marks.get(bucket).copied());
            }
        };
        let mut held = memory.budget();
        let kept = if held.resize(batch.bytes.len()) {
            batch.bytes.shrink_to_fit();
            Kept::Memory { batch, held }
        } else {
            size.spilled += batch.bytes.len() as u64;
            let file = match &self.file {
                Some(file) => Arc::clone(file),
                None => Arc::clone(self.file.insert(Arc::new(SpillFile::create(dir, step)?))),
            };
            Kept::Disk { at: file.append(&batch)?, file }
        };
        self.kept[bucket].push(kept);
        Ok(())
    }

    /// Hands everything over to the shuffle.
    ///
    /// # Errors
    /// As for `push`.
    pub fn finish(&mut self) -> Result<()> {
        for bucket in 0..self.open.len() {
            if self.open[bucket].rows > 0 {
                self.keep(bucket)?;
            }
        }
        for (total, size) in lock(&self.shuffle.sizes).iter_mut().zip(&self.sizes) {
            total.add(*size);
        }
        // One task may feed a shuffle on several ways: a join of a step with itself, a union of related branches.
        let mut outputs = lock(&self.shuffle.outputs);
        for (bucket, kept) in outputs.iter_mut().zip(&mut self.kept).filter(|(_, kept)| !kept.is_empty()) {
            bucket.entry(self.task).or_default().append(kept);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowScratch;

    #[test]
    fn every_row_lands_in_its_bucket_in_task_order_whether_it_spilled_or_not() {
        for limit in [0, 64 << 10, 64 << 20] {
            let dir = tempfile::tempdir().unwrap();
            let memory = MemoryPool::new(limit);
            let shuffle = Arc::new(Shuffle::new(3, &memory, dir.path()));
            for split in [1, 0] {
                let mut writer = BucketWriter::new(Arc::clone(&shuffle), MapTask { channel: 0, read: 0, split });
                for i in 0..50_000 {
                    writer.push(i as usize % 3, &[Val::Int(split as i64), Val::Int(i)]).unwrap();
                }
                writer.finish().unwrap();
            }
            for bucket in 0..3 {
                let mut seen = Vec::new();
                for kept in shuffle.take(bucket) {
                    let read = |row: &[Val<'_>]| match row {
                        [Val::Int(split), Val::Int(i)] => {
                            seen.push((*split, *i));
                            Ok(())
                        }
                        _ => panic!("not what was written"),
                    };
                    kept.load().unwrap().for_each(&mut RowScratch::default(), read).unwrap();
                }
                let of = |split| (0..50_000).filter(|i| i % 3 == bucket as i64).map(move |i| (split, i));
                assert!(seen.into_iter().eq(of(0).chain(of(1))));
            }
            assert_eq!(memory.used(), 0);
        }
    }
}
