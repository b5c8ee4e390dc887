//! Which flows are to be looked at, and when. The same flow is never given out twice at a time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
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
    places: HashMap<Arc<FlowKey>, Place>,
    /// Those that are urgent, and those that are not.
    orders: [BTreeMap<(Instant, u64), Arc<FlowKey>>; 2],
    next: u64,
    /// Given out and not yet given back.
    busy: HashSet<FlowKey>,
    /// To be given out again as soon as they are back.
    again: HashMap<FlowKey, Instant>,
}

/// Where a flow stands in the queue.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// After all urgent ones that are due.
    last: bool,
    due: Instant,
    number: u64,
}

/// Who is due so soon is not put behind others.
const SOON: Duration = Duration::from_secs(1);

impl Queue {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look at a flow after a time; the sooner of two wishes counts.
    pub fn add(&self, key: FlowKey, after: Duration) {
        self.state().add(key, Instant::now() + after, false);
        self.changed.notify_one();
    }

    /// Asks for a look at a flow when there is nothing more urgent.
    pub fn add_last(&self, key: FlowKey) {
        self.state().add(key, Instant::now(), true);
        self.changed.notify_one();
    }

    /// How many flows wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().places.len()
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
            state.add(key.clone(), due, false);
        }
        drop(state);
        self.changed.notify_one();
    }
}

impl State {
    fn add(&mut self, key: FlowKey, due: Instant, last: bool) {
        if self.busy.contains(&key) {
            let wished = self.again.entry(key).or_insert(due);
            *wished = due.min(*wished);
            return;
        }
        let key = match self.places.get_key_value(&key) {
            None => Arc::new(key),
            Some((_, before)) if last && !before.last && before.due <= due + SOON => return,
            Some((_, before)) if before.due <= due && (last || !before.last) => return,
            Some((known, before)) => {
                let (known, before) = (Arc::clone(known), *before);
                self.orders[usize::from(before.last)].remove(&(before.due, before.number));
                known
            }
        };
        self.next += 1;
        self.orders[usize::from(last)].insert((due, self.next), Arc::clone(&key));
        self.places.insert(key, Place { last, due, number: self.next });
    }

    /// A flow that is due, or how long until one is; `None`: none waits.
    fn take(&mut self, now: Instant) -> Result<FlowKey, Option<Duration>> {
        let mut wait = None;
        for order in &mut self.orders {
            let Some(first) = order.first_entry() else { continue };
            let (due, _) = *first.key();
            if due > now {
                wait = Some(wait.map_or(due - now, |wait: Duration| wait.min(due - now)));
                continue;
            }
            let key = first.remove();
            self.places.remove(&key);
            let key = Arc::unwrap_or_clone(key);
            self.busy.insert(key.clone());
            return Ok(key);
        }
        Err(wait)
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

    #[test]
    fn what_is_not_urgent_waits_for_what_is_and_nothing_is_lost() {
        let now = Instant::now();
        let (mut state, soon, later) = (State::default(), now + Duration::from_millis(5), now + Duration::from_secs(3600));
        let taken = |state: &mut State, at: Instant| {
            let key = state.take(at)?;
            state.busy.remove(&key);
            Ok::<_, Option<Duration>>(key.name)
        };
        for name in ["a", "b", "c", "d"] {
            state.add(key(name), now, true);
        }
        state.add(key("new"), soon, false);
        state.add(key("c"), soon, false);
        state.add(key("new"), now, true);
        assert_eq!(taken(&mut state, now).as_deref(), Ok("a"), "nothing urgent is due");
        let all: Vec<String> = std::iter::from_fn(|| taken(&mut state, soon).ok()).collect();
        assert_eq!(all, ["new", "c", "b", "d"]);
        // Somebody who is due in an hour, and wished for now, though not urgently.
        state.add(key("a"), later, false);
        assert_eq!(taken(&mut state, now), Err(Some(later - now)));
        state.add(key("a"), now, true);
        assert_eq!(taken(&mut state, now).as_deref(), Ok("a"));
        assert_eq!(taken(&mut state, later), Err(None));
    }
}
