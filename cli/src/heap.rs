//! What the allocator keeps of freed blocks: with a small budget all threads share one heap, so that one can use what another gave
//! back, and large blocks stay out of it.
#![allow(unsafe_code, reason = "mallopt has no safe form in std")]

/// From this budget on, what each thread's own heap keeps is little beside it, and a heap of its own is faster.
const LARGE: usize = 1 << 30;

/// From this size on, a block is the system's again once it is freed. By itself the allocator raises that size to the largest block
/// that it has seen freed, and then tables, while they grow, leave behind heap that nothing else fits into: half of what they hold.
/// Batches are smaller, and frequent.
const APART: libc::c_int = 160 << 10;

/// Fits the heaps to a run's budget; to be called before its threads start.
#[cfg(target_env = "gnu")]
pub(crate) fn fit(budget: usize) {
    if budget < LARGE {
        // SAFETY: these set numbers that the allocator looks at when a thread asks for its heap, or for a block.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, APART);
        }
    }
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn fit(_budget: usize) {}
