//! Streams an object: pieces in order, some of them fetched ahead. Holds a bounded number of bytes.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore};
use tokio::task::JoinHandle;

use super::download::{self, Blocks, Download};
use super::error::{READ, classify};
use super::{Object, StoreError};

/// The size of one request. One connection gives some 50 to 100 MB/s: smaller pieces would be all latency.
const PIECE: u64 = 4 << 20;
/// Requests under way at a time; with `PIECE` it bounds what a reader holds.
const AHEAD: usize = 4;

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
    Whole(Download),
}

impl ObjectReader {
    pub(super) fn ranged(object: &Object, range: Range<u64>) -> ObjectReader {
        let left = range.end.saturating_sub(range.start);
        let feed = Feed::Ranged { next: range.start, end: range.end, under_way: VecDeque::new() };
        ObjectReader { object: object.clone(), feed, left, current: Bytes::new() }
    }

    pub(super) fn whole(object: &Object) -> ObjectReader {
        ObjectReader { object: object.clone(), feed: Feed::Whole(Download::default()), left: object.size, current: Bytes::new() }
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
            Feed::Whole(download) => {
                let (location, size, options) = (&self.object.location, self.object.size, self.object.options(None));
                let (store, path) = (Arc::clone(&location.store.store), location.path.clone());
                download.next_block(location, |blocks| bring(store, path, (options, size), blocks))?
            }
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
    fetched.map_err(lost)?.map(Some).map_err(|source| classify(READ, object.location.url(), object.location.store.advice, source))
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

async fn bring(
    store: Arc<dyn ObjectStore>,
    path: Path,
    (options, size): (GetOptions, u64),
    blocks: Blocks,
) -> object_store::Result<()> {
    let mut stream = begin(store, path, options, size).await?.into_stream();
    while let Some(block) = stream.try_next().await? {
        if blocks.send(Ok(block)).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl io::Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut current = std::mem::take(&mut self.current);
        let read = download::read(&mut current, buffer, || self.next_block());
        self.current = current;
        read
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        if let Feed::Ranged { under_way, .. } = &self.feed {
            under_way.iter().for_each(JoinHandle::abort);
        }
    }
}
