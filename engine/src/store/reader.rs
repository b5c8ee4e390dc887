//! Streams an object: pieces in order, some of them fetched ahead. Holds a bounded number of bytes.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::{READ, classify};
use super::{Location, Object, StoreError};

/// The size of one request. One connection gives some 50 to 100 MB/s: smaller pieces would be all latency.
const PIECE: u64 = 4 << 20;
/// Requests under way at a time; with `PIECE` it bounds what a reader holds.
const AHEAD: usize = 4;
/// Blocks of a whole download that wait for the reader.
const BLOCKS_AHEAD: usize = 64;

/// The bytes of an object (or of a range of it), in order.
#[derive(Debug)]
pub struct ObjectReader {
    object: Object,
    feed: Feed,
    /// Bytes still to come.
    left: u64,
    /// For `Read`.
    current: Bytes,
}

#[derive(Debug)]
enum Feed {
    Ranged { next: u64, end: u64, under_way: VecDeque<JoinHandle<object_store::Result<Bytes>>> },
    Whole { blocks: Option<mpsc::Receiver<object_store::Result<Bytes>>>, task: Option<JoinHandle<()>> },
}

impl ObjectReader {
    pub(super) fn ranged(object: &Object, range: Range<u64>) -> ObjectReader {
        let left = range.end.saturating_sub(range.start);
        let feed = Feed::Ranged { next: range.start, end: range.end, under_way: VecDeque::new() };
        ObjectReader { object: object.clone(), feed, left, current: Bytes::new() }
    }

    pub(super) fn whole(object: &Object) -> ObjectReader {
        let feed = Feed::Whole { blocks: None, task: None };
        ObjectReader { object: object.clone(), feed, left: object.size, current: Bytes::new() }
    }

    /// The next bytes, or `None` at the end.
    ///
    /// # Errors
    /// If a request failed for good, or the object ends too early.
    pub fn next_block(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.left == 0 {
            return Ok(None);
        }
        let block = match &mut self.feed {
            Feed::Ranged { next, end, under_way } => next_piece(&self.object, next, *end, under_way)?,
            Feed::Whole { blocks, task } => next_block(&self.object, blocks, task)?,
        };
        match block {
            Some(block) => {
                self.left = self.left.saturating_sub(block.len() as u64);
                Ok(Some(block))
            }
            None => Err(StoreError::Short {
                url: self.object.location.url().to_string(),
                got: self.object.size - self.left,
                expected: self.object.size,
            }),
        }
    }
}

fn next_piece(
    object: &Object,
    next: &mut u64,
    end: u64,
    under_way: &mut VecDeque<JoinHandle<object_store::Result<Bytes>>>,
) -> Result<Option<Bytes>, StoreError> {
    let runtime = object.location.engine.runtime()?;
    while under_way.len() < AHEAD && *next < end {
        let range = *next..end.min(*next + PIECE);
        *next = range.end;
        let (store, path) = (Arc::clone(&object.location.store.store), object.location.path.clone());
        under_way.push_back(runtime.spawn(fetch(store, path, object.options(Some(range)), object.size)));
    }
    let Some(first) = under_way.pop_front() else { return Ok(None) };
    let fetched = object.location.engine.block_on(first)?;
    let lost = |source| StoreError::Lost { url: object.location.url().to_string(), source };
    fetched.map_err(lost)?.map(Some).map_err(|source| failure(&object.location, source))
}

async fn fetch(store: Arc<dyn ObjectStore>, path: Path, options: GetOptions, size: u64) -> object_store::Result<Bytes> {
    begin(store, path, options, size).await?.bytes().await
}

/// Asks for an object that was so large when it was looked up: servers behind http need not heed what else tells versions apart.
async fn begin(store: Arc<dyn ObjectStore>, path: Path, options: GetOptions, size: u64) -> object_store::Result<GetResult> {
    let result = store.get_opts(&path, options).await?;
    if result.meta.size == size {
        return Ok(result);
    }
    let source = format!("it had {size} bytes when it was looked up, and now has {}", result.meta.size).into();
    Err(object_store::Error::Precondition { path: path.to_string(), source })
}

fn next_block(
    object: &Object,
    blocks: &mut Option<mpsc::Receiver<object_store::Result<Bytes>>>,
    task: &mut Option<JoinHandle<()>>,
) -> Result<Option<Bytes>, StoreError> {
    let receiver = match blocks {
        Some(receiver) => receiver,
        None => {
            let (tx, rx) = mpsc::channel(BLOCKS_AHEAD);
            let (store, path) = (Arc::clone(&object.location.store.store), object.location.path.clone());
            *task = Some(object.location.engine.runtime()?.spawn(download(store, path, (object.options(None), object.size), tx)));
            blocks.insert(rx)
        }
    };
    let block = object.location.engine.block_on(receiver.recv())?;
    block.transpose().map_err(|source| failure(&object.location, source))
}

async fn download(
    store: Arc<dyn ObjectStore>,
    path: Path,
    (options, size): (GetOptions, u64),
    tx: mpsc::Sender<object_store::Result<Bytes>>,
) {
    let end = async {
        let mut stream = begin(store, path, options, size).await?.into_stream();
        while let Some(block) = stream.try_next().await? {
            if tx.send(Ok(block)).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    if let Err(error) = end.await {
        // Nobody listens any more if this fails: the reader is gone.
        let _ = tx.send(Err(error)).await;
    }
}

fn failure(location: &Location, source: object_store::Error) -> StoreError {
    classify(READ, location.url(), location.store.advice, source)
}

impl io::Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.next_block().map_err(io::Error::other)? {
                Some(block) => self.current = block,
                None => return Ok(0),
            }
        }
        let len = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        match &self.feed {
            Feed::Ranged { under_way, .. } => under_way.iter().for_each(JoinHandle::abort),
            Feed::Whole { task, .. } => task.iter().for_each(JoinHandle::abort),
        }
    }
}
