//! A slot's session, as a table of what happens and what it does about it.

use super::super::death::How;
use super::*;
use plan::task::{Done, Failed, Fault, TaskId, Work as TaskWork};

/// A session, its clock, and what it did so far.
struct Table {
    session: Session,
    now: Instant,
}

fn attempt(number: u32) -> Attempt {
    Attempt { task: TaskId::Operate { node: plan::NodeId(0) }, number }
}

fn task(number: u32) -> Box<Task> {
    Box::new(Task {
        attempt: attempt(number),
        place: (0, 1),
        work: TaskWork::Operate { node: plan::NodeId(0) },
        agents: Vec::new(),
        sides: Default::default(),
        buckets: Default::default(),
        widths: Default::default(),
        tables: Default::default(),
    })
}

fn welcome(term: u64) -> Event {
    Event::LinkSaid(ToSlot::Welcome { term: Term(term), settings: Settings { task_deadline: Some(60), ..Settings::default() } })
}

fn run(number: u32) -> Event {
    Event::LinkSaid(ToSlot::Run { task: task(number), output: "agent:1".to_owned() })
}

fn cancel(number: u32) -> Event {
    Event::LinkSaid(ToSlot::Cancel { attempt: attempt(number) })
}

fn done(number: u32) -> Event {
    Event::ChildSaid(FromChild::Done { attempt: attempt(number), done: Box::new(Done::default()) })
}

fn failed(number: u32) -> Event {
    let failed = Failed { step: Some("s".to_owned()), message: "no".to_owned(), fault: Fault::Flow };
    Event::ChildSaid(FromChild::Failed { attempt: attempt(number), failed: Box::new(failed) })
}

fn progress(number: u32) -> Event {
    Event::ChildSaid(FromChild::Progress { attempt: attempt(number), rows: 1, bytes: 2 })
}

fn died(how: How) -> Event {
    Event::ChildDied(Death { how, out_of_memory: false, last_words: None })
}

fn killed() -> Event {
    died(How::Signal(libc::SIGKILL))
}

fn ready() -> Event {
    Event::ChildSaid(FromChild::Ready)
}

fn lost() -> Event {
    Event::LinkDown("cut".to_owned())
}

/// An action in few words.
fn say(action: &Action) -> Option<String> {
    let fault = |failed: &Failed| format!("{:?}", failed.fault);
    Some(match action {
        Action::Connect { leader, hello: FromSlot::Hello { busy, .. } } => {
            let busy = busy.map(|busy| format!(" busy {}", busy.number));
            format!("connect{}{}", leader.as_deref().map(|to| format!(" to {to}")).unwrap_or_default(), busy.unwrap_or_default())
        }
        Action::Connect { .. } => "connect without hello".to_owned(),
        Action::Disconnect => "disconnect".to_owned(),
        Action::Send(FromSlot::Done { attempt, agent, .. }) => format!("report {} done at {agent}", attempt.number),
        Action::Send(FromSlot::Failed { attempt, failed }) => format!("report {} {}", attempt.number, fault(failed)),
        Action::Send(FromSlot::Draining) => "draining".to_owned(),
        Action::Send(FromSlot::Progress { .. }) => "progress".to_owned(),
        Action::Send(FromSlot::Hello { .. }) => "hello".to_owned(),
        Action::StartChild => "start".to_owned(),
        Action::Tell(ToChild::Run { task, .. }) => format!("run {}", task.attempt.number),
        Action::Tell(ToChild::Stop { attempt }) => format!("stop {}", attempt.number),
        Action::Tell(ToChild::Settings(_)) => "settings".to_owned(),
        Action::Tell(ToChild::Plan(_)) => "plan".to_owned(),
        Action::Tell(ToChild::Open(_)) => "open".to_owned(),
        Action::KillChild => "kill".to_owned(),
        Action::End => "end".to_owned(),
        Action::GiveUp(_) => "give up".to_owned(),
        Action::Welcomed(term) => format!("term {}", term.0),
        Action::Counted(_) | Action::Log(_) => return None,
    })
}

impl Table {
    fn new() -> Table {
        let me = Identity {
            run: RunId::try_from("abc-1".to_owned()).unwrap(),
            pod: "pod".to_owned(),
            node: "node".to_owned(),
            slot: 0,
            incarnation: 7,
            memory: 64 << 20,
        };
        let now = Instant::now();
        Table { session: Session::new(me, now), now }
    }

    /// Welcomed by a leader of term 5, its child ready.
    fn welcome() -> Table {
        let mut table = Table::new();
        table.is(Event::Tick, "start");
        table.is(ready(), "connect");
        table.is(welcome(5), "term 5, settings");
        table
    }

    #[track_caller]
    fn is(&mut self, event: Event, expected: &str) {
        let actions = self.session.handle(self.now, event);
        let said: Vec<String> = actions.iter().filter_map(say).collect();
        assert_eq!(said.join(", "), expected);
    }

    /// Goes to when the session wants to wake, which must be in so many milliseconds.
    #[track_caller]
    fn wakes(&mut self, within: std::ops::RangeInclusive<u64>, expected: &str) {
        let at = self.session.wake_at().expect("it wants to wake");
        let wait = at.saturating_duration_since(self.now).as_millis() as u64;
        assert!(within.contains(&wait), "{wait}");
        self.now = self.now.max(at);
        self.is(Event::Tick, expected);
    }

    fn after(&mut self, seconds: u64) -> &mut Table {
        self.now += Duration::from_secs(seconds);
        self
    }

    #[track_caller]
    fn terminate(&mut self, expected: &str) {
        let event = Event::Terminate { stop_at: self.now + Duration::from_secs(20), end_at: self.now + Duration::from_secs(29) };
        self.is(event, expected);
    }
}

#[test]
fn a_task_is_run_and_its_result_reported_once() {
    let mut table = Table::welcome();
    table.is(Event::LinkSaid(ToSlot::Plan { plan: vec![1] }), "plan");
    table.is(run(1), "run 1");
    table.is(progress(1), "progress");
    table.is(progress(1), "");
    table.after(1).is(progress(1), "progress");
    table.is(done(1), "report 1 done at agent:1");
    table.is(run(2), "run 2");
    table.is(failed(2), "report 2 Flow");
    assert_eq!(table.session.wake_at(), None);
}

#[test]
fn a_result_is_reported_on_every_link_until_the_next_order() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.is(lost(), "");
    table.is(done(1), "");
    table.wakes(1..=200, "connect busy 1");
    table.is(welcome(5), "term 5, report 1 done at agent:1");
    table.is(lost(), "");
    table.wakes(1..=200, "connect busy 1");
    table.is(welcome(6), "term 6, report 1 done at agent:1");
    table.is(run(1), "report 1 done at agent:1");
    table.is(cancel(1), "report 1 done at agent:1");
    table.is(run(2), "run 2");
    table.is(lost(), "");
    table.wakes(1..=200, "connect busy 2");
}

#[test]
fn a_task_goes_on_under_a_new_leader() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.is(lost(), "");
    table.wakes(1..=200, "connect busy 1");
    table.is(Event::LinkSaid(ToSlot::NotLeader { leader: Some("b:1".to_owned()) }), "disconnect, connect to b:1 busy 1");
    table.is(welcome(6), "term 6");
    table.is(run(1), "");
    table.is(done(1), "report 1 done at agent:1");
}

#[test]
fn a_named_leader_is_asked_at_once_and_a_ring_of_them_ever_more_rarely() {
    let mut table = Table::new();
    let not_leader = |leader: Option<&str>| Event::LinkSaid(ToSlot::NotLeader { leader: leader.map(str::to_owned) });
    table.is(Event::Tick, "start");
    table.is(ready(), "connect");
    table.is(not_leader(Some("b:1")), "disconnect, connect to b:1");
    table.is(not_leader(Some("a:1")), "disconnect");
    table.wakes(50..=400, "connect to a:1");
    table.is(not_leader(None), "disconnect");
    table.wakes(100..=800, "connect");
    for _ in 0..20 {
        table.is(lost(), "");
        table.wakes(50..=2000, "connect");
    }
    table.is(lost(), "");
    table.wakes(1000..=2000, "connect");
}

#[test]
fn a_leader_of_an_older_term_is_refused() {
    let mut table = Table::welcome();
    table.is(lost(), "");
    table.wakes(1..=200, "connect");
    table.is(welcome(4), "disconnect");
    table.is(run(1), "");
    table.wakes(50..=400, "connect");
    table.is(welcome(5), "term 5");
    table.is(Event::TermSeen(Term(5)), "");
    table.is(Event::TermSeen(Term(6)), "disconnect");
    table.wakes(1..=200, "connect");
    table.is(welcome(5), "disconnect");
}

#[test]
fn an_order_before_a_welcome_is_refused_and_silence_is_no_answer() {
    let mut table = Table::new();
    table.is(Event::Tick, "start");
    table.is(ready(), "connect");
    table.is(run(1), "disconnect");
    table.wakes(1..=200, "connect");
    table.wakes(10_000..=10_000, "disconnect");
    table.wakes(1..=400, "connect");
    table.is(Event::LinkSaid(ToSlot::Leave { reason: "the run is over".to_owned() }), "kill, disconnect, end");
}

#[test]
fn a_cancelled_task_is_stopped_and_killed_if_it_does_not() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.is(cancel(1), "stop 1");
    table.is(cancel(1), "");
    table.is(failed(1), "report 1 Stopped");
    table.is(run(2), "run 2");
    table.is(cancel(2), "stop 2");
    table.wakes(5000..=5000, "kill");
    assert_eq!(table.session.wake_at(), None);
    table.is(killed(), "report 2 Stopped, start");
    table.is(run(3), "");
    table.is(cancel(3), "report 3 Stopped");
    table.is(ready(), "settings");
    table.is(cancel(9), "report 9 Stopped");
}

#[test]
fn a_result_that_crosses_its_cancellation_counts() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.is(cancel(1), "stop 1");
    table.is(done(1), "report 1 done at agent:1");
}

#[test]
fn a_task_past_its_deadline_is_stopped_then_killed_and_is_the_flows_fault() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.wakes(60_000..=60_000, "stop 1");
    table.wakes(5000..=5000, "kill");
    table.is(killed(), "report 1 Flow, start");
    table.is(ready(), "settings");
    table.is(run(2), "run 2");
    table.wakes(60_000..=60_000, "stop 2");
    table.is(failed(2), "report 2 Flow");
}

#[test]
fn a_dead_child_fails_its_task_and_is_replaced_with_all_that_it_must_know() {
    let mut table = Table::welcome();
    table.is(Event::LinkSaid(ToSlot::Plan { plan: vec![1] }), "plan");
    table.is(run(1), "run 1");
    table.is(died(How::Signal(libc::SIGSEGV)), "report 1 Flow, start");
    table.is(run(2), "");
    table.is(ready(), "settings, plan, run 2");
    table.is(killed(), "report 2 Infrastructure, start");
    table.is(ready(), "settings, plan");
    table.is(killed(), "start");
}

#[test]
fn a_child_that_holds_too_much_is_killed_once() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.is(Event::ChildGrew(65 << 20), "kill");
    table.is(Event::ChildGrew(66 << 20), "");
    table.is(killed(), "report 1 Flow, start");
    table.is(Event::ChildGrew(65 << 20), "kill");
}

#[test]
fn a_child_that_talks_nonsense_is_killed() {
    for nonsense in [done(7), failed(7), ready(), Event::ChildGarbage("x".to_owned())] {
        let mut table = Table::welcome();
        table.is(run(1), "run 1");
        table.is(nonsense, "kill");
        table.is(killed(), "report 1 Flow, start");
    }
}

#[test]
fn a_child_that_never_starts_ends_the_executor_without_greeting_anybody() {
    let mut table = Table::new();
    table.is(Event::Tick, "start");
    for _ in 0..4 {
        table.is(died(How::Exited(1)), "");
        table.wakes(50..=2000, "start");
    }
    table.is(died(How::Exited(1)), "give up");
}

#[test]
fn a_busy_slot_refuses_another_task() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.is(run(2), "report 2 Infrastructure");
    table.is(done(1), "report 1 done at agent:1");
}

#[test]
fn an_idle_slot_leaves_when_told_or_after_a_while_or_at_once_if_nobody_is_there() {
    let mut table = Table::welcome();
    table.terminate("draining");
    table.is(Event::LinkSaid(ToSlot::Leave { reason: "bye".to_owned() }), "kill, disconnect, end");
    let mut table = Table::welcome();
    table.terminate("draining");
    table.terminate("");
    table.wakes(5000..=5000, "kill, disconnect, end");
    let mut table = Table::welcome();
    table.is(lost(), "");
    table.terminate("kill, disconnect, end");
    table.is(run(1), "");
}

#[test]
fn a_draining_slot_ends_its_task_in_time_or_hands_it_back() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.terminate("draining");
    table.after(10).is(done(1), "report 1 done at agent:1");
    table.is(run(2), "report 2 Stopped, kill, disconnect, end");

    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.terminate("draining");
    table.wakes(20_000..=20_000, "stop 1");
    table.wakes(5000..=5000, "kill");
    table.is(killed(), "report 1 Stopped");
    table.wakes(3000..=4000, "disconnect, end");
}

#[test]
fn a_draining_slot_that_lost_its_leader_reports_to_the_next_one() {
    let mut table = Table::welcome();
    table.is(run(1), "run 1");
    table.terminate("draining");
    table.is(lost(), "");
    table.is(done(1), "");
    table.wakes(1..=200, "connect busy 1");
    table.is(welcome(6), "term 6, report 1 done at agent:1, draining");
    table.is(Event::LinkSaid(ToSlot::Leave { reason: "bye".to_owned() }), "kill, disconnect, end");
}

#[test]
fn nothing_ever_comes_twice_or_after_the_end_whatever_happens_in_which_order() {
    // A small generator: every order of events must keep these rules.
    let mut seed = 1_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (seed >> 33) % below
    };
    for _ in 0..2000 {
        let mut table = Table::new();
        let (mut alive, mut ended, mut running) = (false, false, None);
        for _ in 0..60 {
            let number = next(4) as u32;
            let event = match next(14) {
                0 => welcome(next(4)),
                1 | 2 => run(number),
                3 => cancel(number),
                4 if alive => done(running.unwrap_or(number)),
                5 if alive => failed(running.unwrap_or(number)),
                6 if alive => ready(),
                7 if alive => killed(),
                8 if alive => Event::ChildGrew(1 << 40),
                9 => lost(),
                10 => Event::TermSeen(Term(next(4))),
                11 if next(8) == 0 => {
                    Event::Terminate { stop_at: table.now + Duration::from_secs(2), end_at: table.now + Duration::from_secs(9) }
                }
                _ => {
                    table.now = table.session.wake_at().unwrap_or(table.now + Duration::from_secs(1)).max(table.now);
                    Event::Tick
                }
            };
            if matches!(event, Event::ChildDied(_)) {
                (alive, running) = (false, None);
            }
            let actions = table.session.handle(table.now, event);
            assert!(!ended || actions.is_empty(), "{actions:?} after the end");
            for action in &actions {
                match action {
                    Action::StartChild => assert!(!std::mem::replace(&mut alive, true), "two children"),
                    Action::Tell(ToChild::Run { task, .. }) => {
                        assert!(alive && running.replace(task.attempt.number).is_none(), "two tasks at once");
                    }
                    Action::Counted(FromSlot::Done { attempt, .. } | FromSlot::Failed { attempt, .. }) => {
                        running = running.filter(|running| *running != attempt.number);
                    }
                    Action::End | Action::GiveUp(_) => ended = true,
                    _ => {}
                }
            }
            let overdue = table.session.wake_at().filter(|at| *at <= table.now);
            assert!(ended || overdue.is_none(), "it would spin: {:?}", table.session);
        }
    }
}

#[test]
fn a_task_that_stages_files_removes_them_before_its_slot_leaves() {
    let staging = Attempt { task: TaskId::Stage, number: 1 };
    let stage = || {
        let task = Box::new(Task { attempt: staging, ..*task(1) });
        Event::LinkSaid(ToSlot::Run { task, output: "agent:1".to_owned() })
    };
    let leave = || Event::LinkSaid(ToSlot::Leave { reason: "the run is over".to_owned() });
    let begun = || {
        let mut table = Table::welcome();
        table.is(stage(), "run 1");
        table.is(leave(), "stop 1");
        table
    };
    let stopped = Box::new(Failed { fault: Fault::Stopped, ..Failed::default() });
    begun()
        .is(Event::ChildSaid(FromChild::Failed { attempt: staging, failed: stopped }), "report 1 Stopped, kill, disconnect, end");
    let mut table = begun();
    table.is(lost(), "");
    table.wakes(5000..=5000, "kill");
    table.is(killed(), "disconnect, end");
}
