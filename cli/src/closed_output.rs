//! A standard output that was closed stays unwritable. Rust's runtime opens it as `/dev/null` before `main` runs, where rows would
//! vanish and the run be called a success, so this acts before the runtime does.
#![allow(unsafe_code, reason = "what runs before the runtime is found by the linker, and has the C library only")]

/// Run by the C library when the program starts.
#[used]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
#[cfg_attr(not(target_os = "macos"), unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = keep_unwritable;

/// Puts a pipe that nobody reads where standard output should be: writing to it fails, as it should.
extern "C" fn keep_unwritable() {
    let mut ends = [0; 2];
    // SAFETY: these calls get plain numbers and an array that outlives them; there is no other thread yet, so every descriptor
    // that is closed here is one of the two that were just opened.
    unsafe {
        let is_open = libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) != -1;
        if is_open || libc::pipe(ends.as_mut_ptr()) != 0 {
            return;
        }
        let [read, write] = ends;
        // Either end may have been given the number that was free.
        if write != libc::STDOUT_FILENO {
            libc::dup2(write, libc::STDOUT_FILENO);
            libc::close(write);
        }
        if read != libc::STDOUT_FILENO {
            libc::close(read);
        }
    }
}
