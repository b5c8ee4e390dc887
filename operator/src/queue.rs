//! Which flows are to be looked at, and when. The same flow is never given out twice at a time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::view::FlowKey;

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    due: HashMap<FlowKey, Instant>,
    order: BTreeMap<(Instant, u64), FlowKey>,
    numbers: HashMap<FlowKey, u64>,
    next: u64,
    /// Given out and not yet given back.
    busy: HashSet<FlowKey>,
    /// To be given out again as soon as they are back.
    again: HashMap<FlowKey, Instant>,
}

impl Queue {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look at a flow after a time; the sooner of two wishes counts.
    pub fn add(&self, key: FlowKey, after: Duration) {
        self.state().add(key, Instant::now() + after);
        self.changed.notify_one();
    }

    /// How many flows wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().due.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next flow that is due.
    pub async fn next(&self) -> FlowKey {
        loop {
            let wait = match self.state().take(Instant::now()) {
                Ok(key) => return key,
                Err(wait) => wait,
            };
            let changed = self.changed.notified();
            match wait {
                None => changed.await,
                Some(wait) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// Gives a flow back, to be looked at again after a time, if one is given.
    pub fn done(&self, key: &FlowKey, again: Option<Duration>) {
        let mut state = self.state();
        state.busy.remove(key);
        let wished = state.again.remove(key);
        let again = again.map(|after| Instant::now() + after);
        if let Some(due) = [wished, again].into_iter().flatten().min() {
            state.add(key.clone(), due);
        }
        drop(state);
        self.changed.notify_one();
    }
}

impl State {
    fn add(&mut self, key: FlowKey, due: Instant) {
        if self.busy.contains(&key) {
            let wished = self.again.entry(key).or_insert(due);
            *wished = due.min(*wished);
            return;
        }
        if let Some(before) = self.due.get(&key).copied() {
            if before <= due {
                return;
            }
            self.forget(&key, before);
        }
        self.next += 1;
        self.order.insert((due, self.next), key.clone());
        self.numbers.insert(key.clone(), self.next);
        self.due.insert(key, due);
    }

    fn forget(&mut self, key: &FlowKey, due: Instant) {
        if let Some(number) = self.numbers.remove(key) {
            self.order.remove(&(due, number));
        }
        self.due.remove(key);
    }

    /// A flow that is due, or how long until one is; `None`: none waits.
    fn take(&mut self, now: Instant) -> Result<FlowKey, Option<Duration>> {
        let Some(((due, _), key)) = self.order.first_key_value() else { return Err(None) };
        let (due, key) = (*due, key.clone());
        if due > now {
            return Err(Some(due - now));
        }
        self.forget(&key, due);
        self.busy.insert(key.clone());
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> FlowKey {
        FlowKey { namespace: "n".into(), name: name.into() }
    }

    #[test]
    fn a_flow_is_given_out_once_and_again_only_when_it_is_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let queue = Queue::default();
            queue.add(key("a"), Duration::ZERO);
            queue.add(key("a"), Duration::from_secs(60));
            assert_eq!(queue.len(), 1);
            let taken = queue.next().await;
            queue.add(key("a"), Duration::ZERO);
            assert!(queue.is_empty(), "it is being looked at");
            queue.done(&taken, Some(Duration::from_secs(60)));
            assert_eq!(queue.next().await, key("a"), "the sooner wish counts");
            queue.done(&taken, None);
            assert!(queue.is_empty());
        });
    }
}
