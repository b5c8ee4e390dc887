//! A slot's process for tests: does what the number of the task's place asks for, most of it bad.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use executor::slot::protocol::{FromChild, ToChild, read, write};
use plan::task::{Attempt, Done, Failed, Fault};

fn main() {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().expect("standard input is a socket");
    let mut socket = UnixStream::from(stdin);
    let Ok(Some(ToChild::Open(opening))) = read(&mut socket) else { panic!("not opened") };
    std::fs::write(opening.scratch.join("spilled"), "rows").expect("the scratch directory is there");
    write(&mut socket, &FromChild::Ready).expect("the executor listens");
    while let Ok(Some(order)) = read::<ToChild>(&mut socket) {
        if let ToChild::Run { task, .. } = order {
            std::fs::write(opening.scratch.join(format!("begun-{}", task.attempt.number)), "").expect("it is still there");
            behave(&mut socket, task.attempt, task.place.0);
        }
    }
}

fn behave(socket: &mut UnixStream, attempt: Attempt, behaviour: u32) {
    match behaviour {
        0 => {}
        1 => loop {
            std::hint::spin_loop();
        },
        2 => fill_memory(),
        3 => std::process::abort(),
        4 => socket.write_all(b"\xff\xff\xff\xffhello").expect("the executor listens"),
        5 => return wait_for_stop(socket, attempt),
        6 => leave_processes_behind(),
        7 => std::thread::sleep(Duration::from_secs(2)),
        8 => drop(Command::new("kill").args(["-9", &std::process::id().to_string()]).status()),
        9 => eprintln!("words of user code\nmore"),
        other => panic!("no behaviour {other}"),
    }
    if behaviour == 4 {
        loop {
            std::thread::sleep(Duration::from_secs(60));
        }
    }
    write(socket, &FromChild::Done { attempt, done: Box::new(Done::default()) }).expect("the executor listens");
}

fn fill_memory() {
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; 8 << 20]);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn wait_for_stop(socket: &mut UnixStream, attempt: Attempt) {
    let Ok(Some(ToChild::Stop { .. })) = read(socket) else { panic!("stopped first") };
    let failed = Box::new(Failed { step: Some("a-step".to_owned()), message: String::new(), fault: Fault::Stopped });
    write(socket, &FromChild::Failed { attempt, failed }).expect("the executor listens");
}

/// One in our session, one in a session of its own; both lose their parent.
fn leave_processes_behind() {
    // It stays until both have become what they are.
    let is_sleep = |process: &str| format!("tr '\\0' ' ' </proc/${process}/cmdline | grep -q '^sleep'");
    let (one, other) = (is_sleep("one"), is_sleep("other"));
    let leave = format!("sleep 4321 & one=$!; setsid sleep 4322 & other=$!; until {one} && {other}; do sleep 0.05; done; exit 0");
    let status = Command::new("sh").args(["-c", &leave]).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(status.expect("there is a shell").success());
}
