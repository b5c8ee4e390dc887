//! What the allocator keeps of freed blocks: with a small budget all threads share one heap, so that one can use what another gave
//! back.
#![allow(unsafe_code, reason = "mallopt has no safe form in std")]

/// From this budget on, what each thread's own heap keeps is little beside it, and a heap of its own is faster.
const LARGE: usize = 1 << 30;

/// Fits the heaps to a run's budget; to be called before its threads start.
#[cfg(target_env = "gnu")]
pub(crate) fn fit(budget: usize) {
    if budget < LARGE {
        // SAFETY: it sets a number that the allocator looks at when a thread asks for its heap.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn fit(_budget: usize) {}
