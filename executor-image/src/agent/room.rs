//! The budget, shared by all writers: waiting for room, and charges that give back what they took when they go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::RunId;
use tokio::sync::Notify;

use super::budget::{Budget, Place};

/// The budget and whoever waits for it.
#[derive(Debug)]
pub struct Room {
    budget: Mutex<Budget>,
    freed: Notify,
}

impl Room {
    /// Room within these limits.
    #[must_use]
    pub fn new(budget: Budget) -> Arc<Room> {
        Arc::new(Room { budget: Mutex::new(budget), freed: Notify::new() })
    }

    /// The budget; whoever changes what may be taken wakes those that wait ([`Room::wake`]).
    pub fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that wait look again.
    pub fn wake(&self) {
        self.freed.notify_waiters();
    }
}

/// What one output takes of the room. Gives it back when dropped.
#[derive(Debug)]
pub struct Charge {
    room: Arc<Room>,
    run: RunId,
    pub memory: u64,
    pub disk: u64,
}

impl Charge {
    /// Nothing yet.
    #[must_use]
    pub fn new(room: Arc<Room>, run: RunId) -> Charge {
        Charge { room, run, memory: 0, disk: 0 }
    }

    /// Takes room, as soon as there is some. May be dropped while it waits.
    pub async fn take(&mut self, bytes: u64) -> Place {
        let place = self.wait_for(bytes).await;
        match place {
            Place::Memory => self.memory += bytes,
            Place::Disk => self.disk += bytes,
        }
        place
    }

    /// Gives back room on the disk that was not used after all.
    pub fn untake_disk(&mut self, bytes: u64) {
        self.disk -= bytes;
        self.room.budget().give_back(&self.run, 0, bytes);
    }

    async fn wait_for(&self, bytes: u64) -> Place {
        if let Some(place) = self.room.budget().take(&self.run, bytes) {
            return place;
        }
        let _waiting = Waiting::begin(&self.room, &self.run);
        loop {
            let freed = self.room.freed.notified();
            // What is freed from here on wakes us, even before we wait.
            tokio::pin!(freed);
            freed.as_mut().enable();
            if let Some(place) = self.room.budget().take(&self.run, bytes) {
                return place;
            }
            freed.await;
        }
    }

    /// Marks the run as one that waits, for as long as the guard lives.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting::begin(&self.room, &self.run)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.room.budget().give_back(&self.run, self.memory, self.disk);
        self.room.wake();
    }
}

/// A run is waiting while this lives.
#[derive(Debug)]
pub struct Waiting {
    room: Arc<Room>,
    run: RunId,
}

impl Waiting {
    fn begin(room: &Arc<Room>, run: &RunId) -> Waiting {
        room.budget().wait(run, true);
        Waiting { room: Arc::clone(room), run: run.clone() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.room.budget().wait(&self.run, false);
        // A younger run may have stood behind this one.
        self.room.wake();
    }
}

/// One of the writers that may be at a time.
#[derive(Debug)]
pub struct Writer {
    room: Arc<Room>,
    run: RunId,
}

impl Writer {
    /// `None`: there are too many already.
    #[must_use]
    pub fn enter(room: &Arc<Room>, run: &RunId) -> Option<Writer> {
        room.budget().enter(run).then(|| Writer { room: Arc::clone(room), run: run.clone() })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.room.budget().leave(&self.run);
    }
}
