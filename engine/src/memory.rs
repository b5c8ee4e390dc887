//! The memory budget of a run: one pool, drawn on by tasks and stores, which spill when it says no.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bounded number of bytes shared by the threads of a run.
#[derive(Debug)]
pub struct MemoryPool {
    limit: usize,
    used: AtomicUsize,
}

impl MemoryPool {
    /// A pool of `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<MemoryPool> {
        Arc::new(MemoryPool { limit, used: AtomicUsize::new(0) })
    }

    /// An empty share of the pool.
    #[must_use]
    pub fn budget(self: &Arc<Self>) -> Budget {
        Budget { pool: Arc::clone(self), held: 0 }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Bytes in all.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// What one holder has drawn from a pool; given back on drop.
#[derive(Debug)]
pub struct Budget {
    pool: Arc<MemoryPool>,
    held: usize,
}

impl Budget {
    /// Draws until `bytes` are held in all; gives back what is over. False, and nothing changed, if the pool has not enough.
    #[must_use]
    pub fn resize(&mut self, bytes: usize) -> bool {
        if bytes <= self.held {
            self.pool.used.fetch_sub(self.held - bytes, Ordering::Relaxed);
            self.held = bytes;
            return true;
        }
        let more = bytes - self.held;
        let draw = |used: usize| used.checked_add(more).filter(|&total| total <= self.pool.limit);
        let drawn = self.pool.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, draw).is_ok();
        if drawn {
            self.held = bytes;
        }
        drawn
    }

    /// Bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_never_lends_more_than_it_has() {
        let pool = MemoryPool::new(100);
        let (mut a, mut b) = (pool.budget(), pool.budget());
        assert!(a.resize(60));
        assert!(!b.resize(50));
        assert_eq!(b.held(), 0);
        assert!(b.resize(40));
        assert!(a.resize(10));
        assert!(b.resize(90));
        drop(a);
        assert_eq!(pool.used(), 90);
    }
}
