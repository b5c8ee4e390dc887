//! An object as it comes, block by block, brought by a task in the background. Never holds more than a bounded number of blocks.

use std::future::Future;
use std::io;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::{READ, classify};
use super::{Location, StoreError};

/// Blocks that wait for the reader.
const BLOCKS_AHEAD: usize = 64;

type Block = object_store::Result<Bytes>;

/// Where a task puts the blocks.
pub(super) type Blocks = mpsc::Sender<Block>;

/// The blocks of an object; the task begins with the first that is asked for, and ends with this.
#[derive(Debug, Default)]
pub(super) struct Download(Option<(mpsc::Receiver<Block>, JoinHandle<()>)>);

impl Download {
    /// The next block, or `None` at the end. `bring` makes the task.
    pub(super) fn next_block<T>(
        &mut self,
        location: &Location,
        bring: impl FnOnce(Blocks) -> T,
    ) -> Result<Option<Bytes>, StoreError>
    where
        T: Future<Output = object_store::Result<()>> + Send + 'static,
    {
        let (blocks, _) = match &mut self.0 {
            Some(running) => running,
            None => {
                let (tx, rx) = mpsc::channel(BLOCKS_AHEAD);
                let task = location.engine.runtime()?.spawn(finish(bring(tx.clone()), tx));
                self.0.insert((rx, task))
            }
        };
        let block = location.engine.block_on(blocks.recv())?;
        block.transpose().map_err(|source| classify(READ, location.url(), location.store.advice, source))
    }
}

async fn finish(task: impl Future<Output = object_store::Result<()>>, tx: Blocks) {
    if let Err(error) = task.await {
        // Nobody listens any more if this fails: the reader is gone.
        let _ = tx.send(Err(error)).await;
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.0.iter().for_each(|(_, task)| task.abort());
    }
}

/// Reads from what is left of a block, and from those that follow it.
pub(super) fn read(
    current: &mut Bytes,
    buffer: &mut [u8],
    mut next_block: impl FnMut() -> Result<Option<Bytes>, StoreError>,
) -> io::Result<usize> {
    while current.is_empty() {
        match next_block().map_err(io::Error::other)? {
            Some(block) => *current = block,
            None => return Ok(0),
        }
    }
    let len = buffer.len().min(current.len());
    current.copy_to_slice(&mut buffer[..len]);
    Ok(len)
}
